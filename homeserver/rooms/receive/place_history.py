"""Putting history into a room's timeline, with its relations, threads and redactions.

Which events, and where, is decided elsewhere; they are stored as outliers already.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.auth_rules.redaction import may_apply_redaction
from homeserver.protocol.client_event import split_pdu
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.redaction import redact
from homeserver.protocol.relations import relation_of
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.known import KnownEvents
from homeserver.rooms.relating import Related
from homeserver.storage import history_gaps, received_events
from homeserver.storage.database import Transaction
from homeserver.storage.history_stretches import Bounds
from homeserver.storage.received_events import EventFacts


class Placed(NamedTuple):
    """Events by number that have a place now, and the numbers of those redacted thereby."""

    events: Mapping[int, Event]
    redacted: Sequence[int]


class PlaceHistory:
    """Gives places to events that came without an entry of the log."""

    def __init__(self, known: KnownEvents, cache: EventCache) -> None:
        self._known = known
        self._cache = cache

    async def put(
        self,
        tx: Transaction,
        head: RoomHead,
        pos: int,
        within: Bounds,
        stored: Sequence[Event],
        facts: Mapping[EventID, EventFacts],
    ) -> Placed:
        """Put events, the newest last, below `within.oldest`; rejected ones stay outside.

        The room's history is locked. When it is committed, `forget` what was placed.
        """
        by_nid = {facts[each.event_id].event_nid: each for each in reversed(stored)}
        nids = await history_gaps.place_history(tx, head.room_nid, pos, within, list(by_nid))
        placed = {nid: event for nid, event in by_nid.items() if nid in nids}
        rows = (
            Related(relation_of(event.content)).row(event, nid, head.room_nid)
            for nid, event in placed.items()
            if event.state_key is None
        )
        await history_gaps.relate(tx, [row for row in rows if row is not None])
        await history_gaps.thread_history(tx, head.room_nid, list(placed))
        return Placed(placed, await self._redact(tx, head, placed))

    def forget(self, redacted: Iterable[int]) -> None:
        """Drop what the cache has of events that are redacted now."""
        for nid in redacted:
            self._cache.drop(nid)

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
