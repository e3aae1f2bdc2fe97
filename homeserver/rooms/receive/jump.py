"""Single events of a room's distant past, brought without what comes between.

Such an event begins a stretch of history of its own, whose place among the others goes by its
depth. What is before and after it is filled in when somebody comes there.
Spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
"""

from collections.abc import Sequence

from homeserver.ports import EventPeers
from homeserver.protocol.event import Event
from homeserver.protocol.history_visibility import HistoryVisibility, parse_history_visibility
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import HISTORY_VISIBILITY, RoomHead
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.known import KnownEvents, is_outlier, is_rejected
from homeserver.rooms.receive.outliers import Outliers, Room
from homeserver.rooms.receive.pdus import readable_events
from homeserver.rooms.receive.place_history import Placed, PlaceHistory
from homeserver.rooms.receive.questions import Questions, Unjudged
from homeserver.storage import (
    history_gaps,
    history_stretches,
    key_histories,
    received_events,
)
from homeserver.storage.database import Database, Transaction
from homeserver.storage.history_gaps import HistoryGap
from homeserver.storage.history_stretches import MIN_DISTANCE, Bounds
from homeserver.telemetry.clock import Clock


class Jump:
    """Fetches events of which nothing else is known, and gives them places."""

    def __init__(
        self,
        database: Database,
        known: KnownEvents,
        cache: EventCache,
        outliers: Outliers,
        gaps: Gaps,
        places: PlaceHistory,
        peers: EventPeers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._known = known
        self._cache = cache
        self._outliers = outliers
        self._gaps = gaps
        self._places = places
        self._peers = peers
        self._clock = clock

    async def fetch(self, head: RoomHead, event_id: EventID, server: ServerName) -> Event | None:
        """Return an event of the room that has no place yet, and that passes by what it cites.

        Raises RemoteError.
        """
        room = Room(head.room_id, head.room_nid, head.rules)
        facts = (await self._known.facts([event_id])).get(event_id)
        if facts is None:
            pdu = await self._peers.event(server, event_id)
            events = readable_events([pdu], head.room_id, head.rules)
            if [event.event_id for event in events] != [event_id]:
                return None
            try:
                await self._outliers.complete_auth(room, events[0], server)
            except Unjudged:
                return None
            await self._outliers.store(room, events)
            facts = (await self._known.facts([event_id])).get(event_id)
        if facts is None or facts.room_nid != head.room_nid or is_rejected(facts):
            return None
        return (await self._known.events([facts])).get(event_id) if is_outlier(facts) else None

    async def place(self, head: RoomHead, event: Event, server: ServerName) -> bool:
        """Give an event that was fetched a place apart from everything else.

        False: it must not stand alone, but come with what is between it and the next event.
        """
        async with self._database.connection("jump") as connection:
            gap = gap_above(await history_gaps.gaps_of(connection, head.room_nid), event)
        visibility = await self._visibility(head, gap, event, server) if gap else None
        if visibility is None:
            return False
        async with self._database.transaction("jump") as tx:
            await history_gaps.lock_history(tx, head.room_nid)
            # As it is now that nobody else puts anything there.
            gap = gap_above(await history_gaps.gaps_of(tx, head.room_nid), event)
            within = await self._space(tx, head, gap, event) if gap else None
            if gap is None or within is None:
                return False
            placed = await self._begin(tx, head, gap.pos, within, event, visibility)
        self._places.forget(placed.redacted)
        return bool(placed.events)

    async def _space(
        self, tx: Transaction, head: RoomHead, gap: HistoryGap, event: Event
    ) -> Bounds | None:
        """Return where in a gap the event belongs, by its depth; None: right at its end."""
        within = await history_stretches.bounds_at(tx, head.room_nid, gap.pos, gap.sub)
        if within is None or event.event_id in gap.missing:
            return None
        older = await history_stretches.older_neighbor(tx, head.room_nid, gap.pos, within.oldest)
        sub = sub_between(within, gap.depth, older.depth if older else 0, event.depth)
        return None if sub is None else within._replace(oldest=sub + 1)

    async def _begin(
        self,
        tx: Transaction,
        head: RoomHead,
        pos: int,
        within: Bounds,
        event: Event,
        visibility: HistoryVisibility,
    ) -> Placed:
        facts = await self._known.facts([event.event_id, *event.prev_events])
        placed = await self._places.put(tx, head, pos, within, [event], facts)
        for event_nid in placed.events:
            await history_stretches.begin(tx, head.room_nid, event_nid, visibility)
            missing = [each for each in event.prev_events if is_outlier(facts.get(each))]
            await received_events.open_gap(tx, head.room_nid, event_nid, missing)
        await received_events.close_gaps(tx, head.room_nid, [event.event_id])
        await history_stretches.join(tx, head.room_nid, pos)
        return placed

    async def _visibility(
        self, head: RoomHead, gap: HistoryGap, event: Event, server: ServerName
    ) -> HistoryVisibility | None:
        """Return the history visibility in the state before an event; None: it cannot be had."""
        async with self._database.connection("jump") as connection:
            last = await key_histories.visibility_upto(connection, head.room_nid, gap.pos)
        if last is None:
            # Once there is one, there is one for ever.
            return parse_history_visibility(None)
        visibility = (await self._cache.get([last.event_nid]))[last.event_nid]
        # Usually it has not changed since, so that nobody need be asked for a whole state.
        if last.depth >= event.depth:
            try:
                state = await self._gaps.state_before(
                    head, event, server, Questions(self._clock, server)
                )
            except Unjudged:
                return None
            entry = state.get(HISTORY_VISIBILITY)
            if entry is None:
                return parse_history_visibility(None)
            visibility = (await self._cache.get([entry.event_nid]))[entry.event_nid]
        return parse_history_visibility(visibility.content)


def gap_above(gaps: Sequence[HistoryGap], event: Event) -> HistoryGap | None:
    """Choose the gap, of those of a room from the newest on, in which an event is missing."""
    above = [each for each in gaps if each.depth >= event.depth or event.event_id in each.missing]
    return above[-1] if above else None


def sub_between(within: Bounds, newer_depth: int, older_depth: int, depth: int) -> int | None:
    """Return the place of an event between two stretches, in proportion to the depths.

    None: there is not the space to keep a distance from both.
    """
    space = within.oldest - within.lowest
    if space < 2 * MIN_DISTANCE:
        return None
    span = max(newer_depth - older_depth, 1)
    share = space * max(newer_depth - depth, 0) // span
    return within.oldest - min(max(share, MIN_DISTANCE), space - MIN_DISTANCE)
