"""Room summaries: counts and heroes. Spec: client-server-api/#get_matrixclientv3sync_response"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from client_api.sync.encode import encode
from client_api.sync.request import SyncContext
from homeserver.protocol.identifiers import UserID
from homeserver.storage import sync_reads
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord

# "This should be the first 5 members of the room, ordered by stream ordering…"
_HEROES: Final = 5


class _Names(msgspec.Struct):
    name: object = None
    alias: object = None


class _NameCore(msgspec.Struct):
    content: _Names


_decode: Final = msgspec.json.Decoder(_NameCore).decode


class Summary(NamedTuple):
    """A room's summary; `heroes` is None where the room has a name."""

    joined: int
    invited: int
    heroes: list[UserID] | None

    def encoded(self) -> bytes:
        """Return the summary as JSON."""
        summary: dict[str, object] = {
            "m.joined_member_count": self.joined,
            "m.invited_member_count": self.invited,
        }
        if self.heroes is not None:
            summary["m.heroes"] = self.heroes
        return encode(summary)


class Summaries:
    """Reads the summaries of rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_rooms(
        self, context: SyncContext, room_nids: Collection[int]
    ) -> dict[int, Summary]:
        """Return the summaries of rooms as they are now."""
        wanted = list(room_nids)
        if not wanted:
            return {}
        async with self._database.connection("sync_summaries") as connection:
            counts = await sync_reads.member_counts(connection, wanted)
            named = await sync_reads.named_rooms(connection, wanted)
            unnamed = [
                room_nid for room_nid in wanted if not any(map(_has_name, named.get(room_nid, ())))
            ]
            heroes: Mapping[int, list[UserID]] = {}
            if unnamed:
                heroes = await sync_reads.heroes(
                    connection, unnamed, context.viewer.user_id, _HEROES
                )
        without_name = set(unnamed)
        return {
            room_nid: Summary(
                *counts.get(room_nid, (0, 0)),
                heroes.get(room_nid, []) if room_nid in without_name else None,
            )
            for room_nid in wanted
        }


def changes_summary(records: Iterable[EventRecord]) -> bool:
    """Whether events may have changed the counts, or the name that makes heroes needless."""
    return any(
        record.state_key is not None
        and record.type in ("m.room.member", "m.room.name", "m.room.canonical_alias")
        for record in records
    )


def _has_name(core: bytes) -> bool:
    content = _decode(core).content
    return any(isinstance(value, str) and value for value in (content.name, content.alias))
