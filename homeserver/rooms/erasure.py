"""What erased users have said, for those who come later: redacted copies.

Spec: client-server-api/#post_matrixclientv3accountdeactivate
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from homeserver.protocol.client_event import split_pdu
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.visibility import RoomView
from homeserver.storage import erased_users
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.streams.entries import ACCOUNT_ERASED, LogEntry, UserEntry
from homeserver.streams.tail import Tail

_decode: Final = msgspec.json.Decoder(JsonObject).decode


class Erasure:
    """Knows the erased users, all in memory, by following the log."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        # None: to be read; what the tail told meanwhile is in `_told`.
        self._stored: dict[str, int] | None = None
        self._told: dict[str, int] = {}
        tail.follow(self._take, on_gap=self._forget)

    async def as_seen(
        self, records: Sequence[EventRecord], view: RoomView
    ) -> Sequence[EventRecord]:
        """Redact what the viewer was not there to read before its sender was erased."""
        positions = await self._positions()
        if not positions:
            return records
        hidden = {
            record.event_nid
            for record in records
            if record.sender in positions
            and not could_read(view, record.pos or 0, positions[record.sender])
        }
        if not hidden:
            return records
        async with self._database.connection("erasure") as connection:
            versions = await erased_users.room_versions_of(
                connection, {record.room_nid for record in records}
            )
        return [
            _redacted(record, versions[record.room_nid]) if record.event_nid in hidden else record
            for record in records
        ]

    async def erased(self) -> dict[str, int]:
        """Return the erased users with the positions at which they were erased."""
        return dict(await self._positions())

    async def _positions(self) -> dict[str, int]:
        if self._stored is None:
            async with self._database.connection("erased_users") as connection:
                self._stored = await erased_users.all_positions(connection)
        if self._told:
            self._stored.update(self._told)
            self._told.clear()
        return self._stored

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, UserEntry) and entry.kind == ACCOUNT_ERASED:
                self._told[entry.user_id] = entry.pos

    def _forget(self) -> None:
        self._stored = None


def could_read(view: RoomView, pos: int, erased_pos: int) -> bool:
    """Whether the viewer was joined at some time from the event to the erasure."""
    ends = [*view.membership_positions, float("inf")]
    return any(
        membership == "join" and begin <= erased_pos and end > pos
        for membership, (begin, end) in zip(view.memberships, pairwise(ends), strict=True)
    )


def _redacted(record: EventRecord, room_version: str) -> EventRecord:
    rules = ROOM_VERSIONS[room_version]
    core, _ = split_pdu(redact(_decode(record.core), rules), rules)
    return record._replace(core=core, replaced_core=None, replaced_id=None)
