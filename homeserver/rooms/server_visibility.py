"""Which events of rooms other servers may see whole; all else they get redacted.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from homeserver.protocol.history_visibility import HistoryVisibility, parse_history_visibility
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import HISTORY_VISIBILITY
from homeserver.rooms.receive.known import is_outlier
from homeserver.rooms.visibility import RoomView, Visibility
from homeserver.storage import events, key_histories, state
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.storage.received_events import EventFacts

_PUBLIC: Final = (HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED)


class ServerVisibility:
    """Applies the visibility of history to servers that are in a room, and forgets the erased."""

    def __init__(
        self, database: Database, cache: EventCache, visibility: Visibility, erasure: Erasure
    ) -> None:
        self._database = database
        self._cache = cache
        self._visibility = visibility
        self._erasure = erasure

    async def visible(self, server: ServerName, facts: Sequence[EventFacts]) -> set[int]:
        """Return the numbers of the events that a server may see."""
        by_state: dict[int, list[EventFacts]] = {}
        filled_in: list[EventFacts] = []
        for each in facts:
            if each.state_nid or each.type == "m.room.create" or is_outlier(each):
                by_state.setdefault(each.state_nid or 0, []).append(each)
            else:
                filled_in.append(each)
        visible: set[int] = set()
        for state_nid, of_state in by_state.items():
            if await self._may_see(server, state_nid):
                visible.update(each.event_nid for each in of_state)
        visible |= await self._public_ones(filled_in)
        visible.update(each.event_nid for each in facts if _is_about(each, server))
        return visible - await self._erased(server, [e for e in facts if e.event_nid in visible])

    async def _may_see(self, server: ServerName, state_nid: int) -> bool:
        """Whether the history visibility in a state shows what follows to a server in the room."""
        async with self._database.connection("server_visibility") as connection:
            rows = await state.state_at_snapshot(connection, state_nid, [HISTORY_VISIBILITY])
        loaded = await self._cache.get(row.event_nid for row in rows)
        content = next((event.content for event in loaded.values()), None)
        visibility = parse_history_visibility(content)
        if visibility in _PUBLIC:
            return True
        async with self._database.connection("server_visibility") as connection:
            entries = await state.state_at_snapshot(connection, state_nid)
        members = {row.membership for row in entries if row.state_key.endswith(f":{server}")}
        if visibility is HistoryVisibility.INVITED and "invite" in members:
            return True
        return "join" in members

    async def _public_ones(self, facts: Sequence[EventFacts]) -> set[int]:
        """Return which events of history that was filled in are visible to all in the room.

        Who was in the room then is not known here; other servers may know.
        """
        if not facts:
            return set()
        records = await self._records([each.event_nid for each in facts])
        views: dict[int, RoomView] = {}
        public: set[int] = set()
        for record in records.values():
            if record.pos is None:
                continue
            if record.room_nid not in views:
                views[record.room_nid] = await self._visibility.of_nobody(record.room_nid)
            view = views[record.room_nid]
            if view.visibility_before(record.pos, record.sub) in _PUBLIC:
                public.add(record.event_nid)
        return public

    async def _erased(self, server: ServerName, facts: Sequence[EventFacts]) -> set[int]:
        """Return which events erased users have sent that no user of the server was there to read.

        "users (or servers) which join the room after the erasure request are served redacted
        copies".
        """
        positions = await self._erasure.erased()
        if not positions or not facts:
            return set()
        loaded = await self._cache.get([each.event_nid for each in facts])
        senders = {nid: event.sender for nid, event in loaded.items() if event.sender in positions}
        if not senders:
            return set()
        records = await self._records(senders)
        erased: set[int] = set()
        for record in records.values():
            stays = await self._stays(record.room_nid, server)
            if not _was_there(stays, record.pos or 0, positions[record.sender]):
                erased.add(record.event_nid)
        return erased

    async def _stays(self, room_nid: int, server: ServerName) -> list[tuple[int, int | None]]:
        async with self._database.connection("server_visibility") as connection:
            return await key_histories.stays_of_server(connection, room_nid, server)

    async def _records(self, event_nids: Collection[int]) -> Mapping[int, EventRecord]:
        async with self._database.connection("server_visibility") as connection:
            return await events.events_by_nid(connection, event_nids)


def _is_about(facts: EventFacts, server: ServerName) -> bool:
    """Whether an event changes the membership of one of the server's users."""
    return facts.membership is not None and (facts.state_key or "").endswith(f":{server}")


def _was_there(stays: Sequence[tuple[int, int | None]], pos: int, erased_pos: int) -> bool:
    return any(begin <= erased_pos and (end is None or end > pos) for begin, end in stays)
