"""Filling a gap in a room's history with what another server has.

What comes is verified, and judged by its own auth events; the state before it is not known. It is
put in the place of the gap and nowhere else, so that who has read further has missed nothing.
Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from homeserver.ports import EventPeers
from homeserver.protocol.auth_rules.redaction import may_apply_redaction
from homeserver.protocol.client_event import split_pdu
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.redaction import redact
from homeserver.protocol.relations import relation_of
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.known import KnownEvents, is_outlier, is_rejected
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.outliers import Outliers, Room, Unjudged
from homeserver.rooms.receive.pdus import readable_events
from homeserver.rooms.relating import Related
from homeserver.storage import history_gaps, received_events
from homeserver.storage.database import Database, Transaction
from homeserver.storage.history_gaps import HistoryGap
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
        cache: EventCache,
        outliers: Outliers,
        peers: EventPeers,
    ) -> None:
        self._database = database
        self._known = known
        self._cache = cache
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
            placed = await self._place(tx, head, gap, stored, facts)
            await self._move_gap(tx, head, gap, stored, facts)
            redacted = await self._redact(tx, head, placed)
        for nid in redacted:
            self._cache.drop(nid)
        return len(placed)

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

    async def _place(
        self,
        tx: Transaction,
        head: RoomHead,
        gap: HistoryGap,
        stored: Sequence[Event],
        facts: Mapping[EventID, EventFacts],
    ) -> dict[int, Event]:
        """Put events in place, the newest closest to the gap's end; return them by number."""
        by_nid = {facts[each.event_id].event_nid: each for each in reversed(stored)}
        nids = await history_gaps.place_history(tx, head.room_nid, gap.pos, list(by_nid))
        placed = {nid: event for nid, event in by_nid.items() if nid in nids}
        rows = (
            Related(relation_of(event.content)).row(event, nid, head.room_nid)
            for nid, event in placed.items()
            if event.state_key is None
        )
        await history_gaps.relate(tx, [row for row in rows if row is not None])
        await history_gaps.thread_history(tx, head.room_nid, list(placed))
        return placed

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

    async def _redact(
        self, tx: Transaction, head: RoomHead, placed: Mapping[int, Event]
    ) -> list[int]:
        """Apply redactions to and of what was placed; return the redacted events' numbers."""
        for nid, event in placed.items():
            if event.type == "m.room.redaction" and event.redacts is not None:
                await received_events.await_redaction(tx, event.redacts, nid)
        targets = {event.event_id for event in placed.values()}
        targets.update(event.redacts for event in placed.values() if event.redacts is not None)
        waiting = await received_events.waiting_redactions(tx, head.room_nid, targets)
        if not waiting:
            return []
        facts = await self._known.facts(target for target, _ in waiting)
        ready = [(facts[target].event_nid, nid) for target, nid in waiting if target in facts]
        events = await self._cache.get({nid for pair in ready for nid in pair})
        redacted: list[int] = []
        for target_nid, redaction_nid in _applicable(head, ready, events):
            core, rest = split_pdu(redact(events[target_nid].pdu, head.rules), head.rules)
            await history_gaps.redact_history(tx, target_nid, redaction_nid, core, rest)
            redacted.append(target_nid)
        return redacted


def _applicable(
    head: RoomHead, pairs: Iterable[tuple[int, int]], events: Mapping[int, Event]
) -> list[tuple[int, int]]:
    """Return the (target, redaction) pairs in which the redaction may take effect."""
    return [
        (target, redaction)
        for target, redaction in pairs
        if target in events
        and redaction in events
        and events[target].room_id == head.room_id
        and may_apply_redaction(events[redaction], events[target], head.power_levels)
    ]
