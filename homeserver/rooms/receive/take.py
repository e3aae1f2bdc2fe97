"""Taking events into a room, one after the other.

The checks that are left are those that need the room. "Rejected" events are stored, so that they
are known, and shown to nobody; "soft-failed" ones take part in state resolution, too.
Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.build import Built, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import POWER_LEVELS, RoomHead, StateEntry
from homeserver.rooms.heads import Heads
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.judge import Cited, Judge
from homeserver.rooms.receive.known import (
    KnownEvents,
    has_state,
    is_extremity_material,
    is_outlier,
)
from homeserver.rooms.receive.outliers import Outliers, Room, Unjudged
from homeserver.rooms.receive.place import Placing, Site
from homeserver.rooms.receive.states import (
    EMPTY,
    RoomState,
    RoomStates,
    changes_between,
    state_of_head,
)
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.state_keys import StateKeys
from homeserver.rooms.write import RoomWriter
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE, PASSED_ON, REJECTED, SOFT_FAILED
from homeserver.storage.received_events import AuthEdge, EventFacts
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# One statement for so many events that follow each other.
MAX_RUN: Final = 50
# Rejected events on the way from an event to the extremities that it covers.
_MAX_COVERED: Final = 100


class Incoming(NamedTuple):
    """An event that is well-formed and signed, and who has sent it here."""

    event: Event
    origin: ServerName
    # This server passes it on to the others in the room, as if it were of a local user.
    is_passed_on: bool = False


class _Stored(NamedTuple):
    """What is stored of an event and its prev events, and the state that fills a gap.

    Of the `missing` ones the states are not known, and those of `gap` not even the events.
    """

    own: EventFacts | None
    prevs: dict[EventID, EventFacts]
    missing: list[EventID]
    gap: list[EventID]
    claimed: Mapping[StateKey, StateEntry] | None


class TakeEvents:
    """Takes received events into rooms. One caller per room at a time."""

    def __init__(
        self,
        database: Database,
        writer: RoomWriter,
        heads: Heads,
        cache: EventCache,
        known: KnownEvents,
        judge: Judge,
        states: RoomStates,
        state_keys: StateKeys,
        row_numbers: RowNumbers,
        placing: Placing,
        outliers: Outliers,
        gaps: Gaps,
        policy_servers: PolicyServers,
    ) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._known = known
        self._judge = judge
        self._states = states
        self._state_keys = state_keys
        self._row_numbers = row_numbers
        self._placing = placing
        self._outliers = outliers
        self._gaps = gaps
        self._policy_servers = policy_servers

    async def take(
        self, room_id: RoomID, incoming: Sequence[Incoming], *, may_ask: bool = True
    ) -> list[EventID]:
        """Take events, each after its prev events, into a room that this server is in.

        Those that are known stay as they are. `may_ask`: for events that are missing in between.
        Returns the events that cannot be judged now. Raises Forbidden: the room is not known.
        """
        queue = deque(incoming)
        unjudged: list[EventID] = []
        while queue:
            for _ in range(await self._take_run(room_id, queue)):
                queue.popleft()
            if not queue:
                break
            each = queue.popleft()
            try:
                await self._take_one(room_id, each, may_ask=may_ask)
            except Unjudged:
                unjudged.append(each.event.event_id)
        return unjudged

    async def _take_run(self, room_id: RoomID, queue: Sequence[Incoming]) -> int:
        """Take as many events as simply follow the head one after the other."""

        async def build(head: RoomHead) -> Sequence[Built]:
            run: list[Built] = []
            for event, _, is_passed_on in list(queue)[:MAX_RUN]:
                if not _is_simple(event, head, is_first=not run):
                    break
                auth_nids = await self._judge.fits_head(event, head)
                is_recommended = await self._policy_servers.recommends(head, event)
                if auth_nids is None or not is_recommended:
                    break
                nid = await self._row_numbers.event()
                built = await self._writer.builder.place(head, event, nid, auth_nids, Sent())
                run.append(_passed_on(built) if is_passed_on else built)
                head = built.head
            return await self._unless_known(run)

        if not _is_follower(queue[0].event, await self._head(room_id)):
            return 0
        return len(await self._writer.write_settled(room_id, build))

    async def _unless_known(self, run: list[Built]) -> Sequence[Built]:
        """Cut the run before an event that is stored, or that a redaction waits for."""
        if not run:
            return run
        event_ids = [built.event.event_id for built in run]
        facts = await self._known.facts(event_ids)
        async with self._database.connection("waiting_redactions") as connection:
            waiting = await received_events.waiting_redactions(
                connection, run[0].head.room_nid, event_ids
            )
        odd = {*facts, *(target for target, _ in waiting)}
        cut = next((n for n, event_id in enumerate(event_ids) if event_id in odd), len(run))
        return run[:cut]

    async def _head(self, room_id: RoomID) -> RoomHead:
        head = await self._heads.head(room_id)
        if head is None:
            raise Unjudged
        return head

    async def _take_one(self, room_id: RoomID, incoming: Incoming, *, may_ask: bool) -> None:
        """Take an event at any place of the room, with whatever has to be asked for first."""
        event, origin, is_passed_on = incoming
        if event.type == "m.room.create":
            log.warning("second create event", room_id=room_id, **_named(event))
            return
        head = await self._head(room_id)
        room = Room(room_id, head.room_nid, head.rules)
        await self._outliers.complete_auth(room, event, origin)
        stored = await self._stored(event, head)
        if stored is None:
            return
        if stored.gap and may_ask:
            older = await self._gaps.older(head, event, origin)
            await self.take(room_id, [Incoming(each, origin) for each in older], may_ask=False)
            stored = await self._stored(event, head)
            if stored is None:
                return
        claimed = None
        if stored.missing:
            claimed = await self._gaps.state_before(head, event, origin)
        event = await self._policy_servers.signed_if_possible(head, event)

        async def build(head: RoomHead) -> Sequence[Built]:
            now = await self._stored(event, head)
            if now is None:
                return []
            built = await self._build(head, event, now._replace(claimed=claimed))
            return [_passed_on(each) for each in built] if is_passed_on else built

        for built in await self._writer.write_settled(room_id, build):
            await self._remember(built)

    async def _stored(self, event: Event, head: RoomHead) -> _Stored | None:
        """Return what is stored around an event; None: nothing is to be done about it."""
        facts = await self._known.facts([event.event_id, *event.prev_events])
        own = facts.pop(event.event_id, None)
        if own is not None and not is_outlier(own):
            return None
        if any(each.room_nid != head.room_nid for each in facts.values()):
            log.warning("prev event of another room", **_named(event))
            return None
        prevs = {each: facts[each] for each in event.prev_events if has_state(facts.get(each))}
        missing = [each for each in dict.fromkeys(event.prev_events) if each not in prevs]
        gap = [each for each in missing if is_outlier(facts.get(each))]
        return _Stored(own, prevs, missing, gap, None)

    async def _build(self, head: RoomHead, event: Event, stored: _Stored) -> Sequence[Built]:
        cited = await self._judge.cited(event)
        if cited is None:
            raise Unjudged
        nid = stored.own.event_nid if stored.own else await self._row_numbers.event()
        self._states.remember_head(head)
        before = await self._state_before(head, event, stored)
        flags = await self._verdict(head, event, cited, before)
        partial = PARTIAL_STATE if head.is_partial_state else 0
        if stored.gap:
            async with self._database.connection("open_gap") as connection:
                await received_events.open_gap(connection, head.room_nid, nid, stored.gap)
        if flags:
            built = await self._placing.invisible(
                head, event, nid, cited.nids, before, flags | partial
            )
            return [built]
        after = await self._state_after(head, event, nid, before)
        extremities = await self._extremities(head, event, nid, stored)
        # State resolution reads it from there; it is not stored yet.
        self._cache.put(nid, event)
        is_levels = (event.type, event.state_key) == POWER_LEVELS
        edge = AuthEdge(nid, cited.nids, 0, is_levels)
        current = await self._current(head, edge, after, extremities)
        site = Site(nid, cited.nids, before, after, current, extremities, partial)
        return [await self._placing.accepted(head, event, site)]

    async def _state_before(self, head: RoomHead, event: Event, stored: _Stored) -> RoomState:
        if not event.prev_events:
            return EMPTY
        if _is_follower(event, head):
            return state_of_head(head)
        states = [await self._states.after(each) for each in stored.prevs.values()]
        if stored.missing:
            assert stored.claimed is not None
            changes = changes_between(head.state, stored.claimed)
            now = state_of_head(head)
            claimed = await self._states.with_changes(now, head.room_nid, changes)
            states.append(claimed if changes else now)
        return await self._states.merged(states, head.room_nid, head.rules)

    async def _verdict(self, head: RoomHead, event: Event, cited: Cited, before: RoomState) -> int:
        """Return the flag of an event that is rejected or soft-failed, 0 for an accepted one."""
        # What a partial state lacks, the event's own auth events must say.
        supplement = cited.events if head.is_partial_state else ()
        refusal = await self._judge.by_auth_events(event, cited, head)
        refusal = refusal or await self._judge.by_state(event, before.entries, head, supplement)
        if refusal is not None:
            log.warning("event rejected", **_named(event), rule=refusal.rule)
            return REJECTED
        if before.entries is not head.state:
            refusal = await self._judge.by_state(event, head.state, head, supplement)
            if refusal is not None:
                log.warning("event soft-failed", **_named(event), rule=refusal.rule)
                return SOFT_FAILED
        # Step 7. Is validated by the Policy Server … otherwise it is "soft failed".
        if not await self._policy_servers.recommends(head, event):
            log.warning("event not recommended", event_id=event.event_id)
            return SOFT_FAILED
        return 0

    async def _state_after(
        self, head: RoomHead, event: Event, event_nid: int, before: RoomState
    ) -> RoomState:
        if event.state_key is None:
            return before
        key = (event.type, event.state_key)
        entry = StateEntry(
            await self._state_keys.nid(key), event_nid, event.event_id, event.membership
        )
        return await self._states.with_changes(before, head.room_nid, {key: entry})

    async def _extremities(
        self, head: RoomHead, event: Event, event_nid: int, stored: _Stored
    ) -> tuple[tuple[int, EventID], ...]:
        """Return the forward extremities with the event, in the order of their numbers."""
        covered = await self._covered(head, event, stored)
        left = [entry for entry in head.extremities if entry[1] not in covered]
        async with self._database.connection("named_as_prev") as connection:
            named = await received_events.named_as_prev(connection, head.room_nid, [event.event_id])
        # An event that others follow already is no end of the room.
        return tuple(left) if named and left else (*left, (event_nid, event.event_id))

    async def _covered(self, head: RoomHead, event: Event, stored: _Stored) -> set[EventID]:
        """Return the prev events, and what comes before those that are no extremities."""
        covered = set(event.prev_events)
        ends = {event_id for _, event_id in head.extremities}
        pending = [each for each in stored.prevs.values() if not is_extremity_material(each)]
        while pending and not ends <= covered and len(covered) < _MAX_COVERED:
            events = await self._known.events(pending)
            prevs = {each for event in events.values() for each in event.prev_events} - covered
            covered |= prevs
            facts = await self._known.facts(prevs)
            pending = [each for each in facts.values() if not is_extremity_material(each)]
        return covered

    async def _current(
        self,
        head: RoomHead,
        edge: AuthEdge,
        after: RoomState,
        extremities: Sequence[tuple[int, EventID]],
    ) -> RoomState:
        """Return the resolved state of the extremities, the present one where it stays."""
        others = [event_id for nid, event_id in extremities if nid != edge.event_nid]
        facts = await self._known.facts(others)
        if len(head.extremities) == 1 and len(others) == 1:
            # The usual fork: the state of the head is that after its one extremity.
            self._states.remember_after(head.extremities[0][0], state_of_head(head))
        states = [await self._states.after(facts[each]) for each in others]
        if len(others) < len(extremities):
            states.append(after)
        current = await self._states.merged(states, head.room_nid, head.rules, edge)
        if changes_between(head.state, current.entries):
            return current
        return state_of_head(head)

    async def _remember(self, built: Built) -> None:
        """Note what a committed event is for those that follow it."""
        room_nid, event_id = built.write.room.room_nid, built.event.event_id
        async with self._database.connection("close_gaps") as connection:
            await received_events.close_gaps(connection, room_nid, [event_id])


def _named(event: Event) -> dict[str, str]:
    """Return what logs say of an event: the sender tells whose fault it is."""
    return {"event_id": event.event_id, "sender": event.sender}


def _passed_on(built: Built) -> Built:
    row = built.write.event
    return built._replace(
        write=built.write._replace(event=row._replace(flags=row.flags | PASSED_ON))
    )


def _is_follower(event: Event, head: RoomHead) -> bool:
    """Whether an event's prev events are just the extremities."""
    ends = [event_id for _, event_id in head.extremities]
    return len(event.prev_events) == len(ends) and set(event.prev_events) == set(ends)


def _is_simple(event: Event, head: RoomHead, *, is_first: bool) -> bool:
    """Whether an event can be built on a head that may not be committed yet.

    What looks for other events in the database must be the first of its write.
    """
    if head.is_partial_state or event.type in ("m.room.redaction", "m.room.create"):
        return False
    return _is_follower(event, head) and (is_first or "m.relates_to" not in event.content)
