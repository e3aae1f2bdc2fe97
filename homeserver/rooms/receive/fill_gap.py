"""Filling a gap in a room's history with what another server has.

What comes is verified, and judged by its own auth events; the state before it is not known. It is
put in the place of the gap and nowhere else, so that who has read further has missed nothing.
Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Mapping, Sequence
from typing import Final

from homeserver.ports import EventPeers
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.known import KnownEvents, is_outlier, is_rejected
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.outliers import Outliers, Room
from homeserver.rooms.receive.pdus import readable_events
from homeserver.rooms.receive.place_history import PlaceHistory
from homeserver.rooms.receive.questions import Unjudged
from homeserver.storage import history_gaps, history_stretches, received_events
from homeserver.storage.database import Database, Transaction
from homeserver.storage.history_gaps import HistoryGap
from homeserver.storage.history_stretches import Bounds
from homeserver.storage.received_events import EventFacts

PAGE: Final = 100
# Events of one answer whose auth chains have to be asked for one by one.
_MAX_CHAINS: Final = 10


class FillGap:
    """Asks one server for what is missing in one place."""

    def __init__(
        self,
        database: Database,
        known: KnownEvents,
        places: PlaceHistory,
        outliers: Outliers,
        peers: EventPeers,
    ) -> None:
        self._database = database
        self._known = known
        self._places = places
        self._outliers = outliers
        self._peers = peers

    async def fill(self, head: RoomHead, gap: HistoryGap, server: ServerName) -> int:
        """Return how many events of the server's answer were put in place.

        Raises RemoteError.
        """
        pdus = await self._peers.backfill(server, head.room_id, gap.missing, PAGE)
        answered = readable_events(pdus[:PAGE], head.room_id, head.rules)
        taken = await self._leading_to(gap, {each.event_id: each for each in answered})
        await self._store(Room(head.room_id, head.room_nid, head.rules), taken, server)
        facts = await self._known.facts(each.event_id for each in taken)
        stored = [each for each in taken if each.event_id in facts]
        async with self._database.transaction("fill_gap") as tx:
            await history_gaps.lock_history(tx, head.room_nid)
            divided = await self._divided(tx, head, gap, stored)
            if any(each.oldest - len(events) <= each.lowest for each, events in divided):
                # There is no space: they lie about how far they are from each other.
                return 0
            placed = [
                await self._places.put(tx, head, gap.pos, each, events, facts)
                for each, events in divided
            ]
            await self._move_gap(tx, head, gap, stored, facts)
            await history_stretches.join(tx, head.room_nid, gap.pos)
        self._places.forget(nid for each in placed for nid in each.redacted)
        return sum(len(each.events) for each in placed)

    async def _divided(
        self, tx: Transaction, head: RoomHead, gap: HistoryGap, stored: Sequence[Event]
    ) -> list[tuple[Bounds, Sequence[Event]]]:
        """Choose the stretch to go on with for each event: that of the gap, or an older one.

        A way around where an older stretch begins leads to what is older than all of it.
        """
        divided: list[tuple[Bounds, Sequence[Event]]] = []
        within = await history_stretches.bounds_at(tx, head.room_nid, gap.pos, gap.sub)
        rest = stored
        while within is not None:
            older = await history_stretches.bounds_at(tx, head.room_nid, gap.pos, within.lowest)
            depth = older.depth if older is not None else 0
            divided.append((within, [each for each in rest if each.depth >= depth]))
            rest = [each for each in rest if each.depth < depth]
            within = older if rest else None
        return divided

    async def _leading_to(self, gap: HistoryGap, answered: Mapping[EventID, Event]) -> list[Event]:
        """Return what of an answer leads up to the gap and has no place yet, the newest last."""
        facts = await self._known.facts(answered)
        taken: dict[EventID, Event] = {}
        pending = list(gap.missing)
        while pending:
            event_id = pending.pop()
            event = answered.get(event_id)
            if event is not None and event_id not in taken and is_outlier(facts.get(event_id)):
                taken[event_id] = event
                pending += event.prev_events
        return by_prev_events(list(taken.values()))

    async def _store(self, room: Room, events: Sequence[Event], server: ServerName) -> None:
        """Store events as outliers, with the auth chains that they need."""
        await self._outliers.store(room, events)
        left = set(await self._outliers.missing([each.event_id for each in events]))
        incomplete = [each for each in events if each.event_id in left]
        for event in incomplete[:_MAX_CHAINS]:
            try:
                await self._outliers.complete_auth(room, event, server)
            except Unjudged:
                continue
        if incomplete:
            await self._outliers.store(room, incomplete)

    async def _move_gap(
        self,
        tx: Transaction,
        head: RoomHead,
        gap: HistoryGap,
        stored: Sequence[Event],
        facts: Mapping[EventID, EventFacts],
    ) -> None:
        """Close the gap for what is stored, and open it before that.

        What comes before a rejected event is missing where that would have stood.
        """
        ids = {each.event_id for each in stored}
        older = await self._known.facts({p for each in stored for p in each.prev_events} - ids)
        for event in stored:
            missing = [
                each
                for each in event.prev_events
                if each not in ids and is_outlier(older.get(each))
            ]
            own = facts[event.event_id]
            child = gap.child_nid if is_rejected(own) else own.event_nid
            await received_events.open_gap(tx, head.room_nid, child, missing)
        await received_events.close_gaps(tx, head.room_nid, ids)
