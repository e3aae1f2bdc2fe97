"""Taking events into a room, one after the other.

The checks that are left are those that need the room. "Rejected" events are stored, so that they
are known, and shown to nobody; "soft-failed" ones take part in state resolution, too.
Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.build import Built, Sent, passed_on
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import POWER_LEVELS, RoomHead, StateEntry
from homeserver.rooms.heads import Heads
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.receive.ends import Ends
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.judge import Cited, Judge
from homeserver.rooms.receive.known import Around, KnownEvents
from homeserver.rooms.receive.outliers import Outliers, Room
from homeserver.rooms.receive.place import Placing, Site
from homeserver.rooms.receive.questions import Questions, Unjudged
from homeserver.rooms.receive.states import (
    EMPTY,
    RoomState,
    RoomStates,
    changes_between,
    state_of_head,
)
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.servers_in_room import is_joined
from homeserver.rooms.state_keys import StateKeys
from homeserver.rooms.write import RoomWriter
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE, REJECTED, SOFT_FAILED
from homeserver.storage.received_events import AuthEdge
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# One statement for so many events that follow each other.
MAX_RUN: Final = 50


class Incoming(NamedTuple):
    """An event that is well-formed and signed, and who has sent it here."""

    event: Event
    origin: ServerName
    # This server passes it on to the others in the room, as if it were of a local user.
    is_passed_on: bool = False


# Called with the room and the events that were written, when they are committed.
TakenListener: TypeAlias = Callable[[RoomID, Sequence[EventID]], None]
_State: TypeAlias = Mapping[StateKey, StateEntry]


class TakeEvents:
    """Takes received events into rooms, whoever else does it at the same time."""

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
        clock: Clock,
    ) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._known = known
        self._ends = Ends(database, known, states)
        self._judge = judge
        self._states = states
        self._state_keys = state_keys
        self._row_numbers = row_numbers
        self._placing = placing
        self._outliers = outliers
        self._gaps = gaps
        self._policy_servers = policy_servers
        self._clock = clock
        self._listeners: list[TakenListener] = []

    def on_taken(self, listener: TakenListener) -> None:
        """Call `listener` when events were written, shown or not."""
        self._listeners.append(listener)

    async def take(
        self, room_id: RoomID, incoming: Sequence[Incoming], *, may_ask: bool = True
    ) -> list[EventID]:
        """Take events of one server, for which somebody waits, into a room that this server is in.

        Each after its prev events; those that are known stay as they are. `may_ask`: for events
        that are missing in between. Only the server that sent them is asked.
        Returns the events that cannot be judged now. Raises Forbidden: the room is not known.
        """
        questions = Questions(self._clock, incoming[0].origin)
        return await self._take(room_id, incoming, questions, fills_gaps=may_ask)

    async def take_complete(self, room_id: RoomID, incoming: Sequence[Incoming]) -> list[EventID]:
        """Take those events for which nobody has to be asked; return the others."""
        return await self._take(room_id, incoming, None)

    async def take_asking(
        self, room_id: RoomID, incoming: Sequence[Incoming], questions: Questions
    ) -> list[EventID]:
        """Take events with whatever has to be asked for; return those that cannot be judged now."""
        return await self._take(room_id, incoming, questions)

    async def _take(
        self,
        room_id: RoomID,
        incoming: Sequence[Incoming],
        questions: Questions | None,
        *,
        fills_gaps: bool = True,
    ) -> list[EventID]:
        queue = deque(incoming)
        unjudged: list[EventID] = []
        while queue:
            for _ in range(await self._take_run(room_id, queue)):
                queue.popleft()
            if not queue:
                break
            each = queue.popleft()
            try:
                await self._take_one(room_id, each, questions, fills_gaps=fills_gaps)
            except Unjudged:
                unjudged.append(each.event.event_id)
        return unjudged

    async def _take_run(self, room_id: RoomID, queue: Sequence[Incoming]) -> int:
        """Take as many events as simply follow the head one after the other."""

        async def build(head: RoomHead) -> Sequence[Built]:
            if queue[0].is_passed_on:  # Who has handed it in is told the state before it.
                self._states.remember_head(head)
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
                run.append(passed_on(built) if is_passed_on else built)
                head = built.head
            return await self._unless_known(run)

        head = await self._heads.head(room_id)
        if head is None or not _is_follower(queue[0].event, head):
            return 0
        built = await self._writer.write_settled(room_id, build)
        self._tell(room_id, built)
        return len(built)

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

    async def _take_one(
        self, room_id: RoomID, incoming: Incoming, questions: Questions | None, *, fills_gaps: bool
    ) -> None:
        """Take an event at any place of the room. Raises Unjudged, Forbidden."""
        event = incoming.event
        if event.type == "m.room.create":
            log.warning("second create event", room_id=room_id, **_named(event))
            return
        head = await self._head(room_id)
        around = await self._known.around(event, head)
        if around is None:
            return
        claimed: _State | None = None
        if questions is None:
            await self._require_all(head, event, around)
        else:
            prepared = await self._prepared(
                head, incoming, around, questions, fills_gaps=fills_gaps
            )
            if prepared is None:
                return
            event, claimed = prepared

        async def build(head: RoomHead) -> Sequence[Built]:
            now = await self._known.around(event, head)
            if now is None:
                return []
            built = await self._build(head, incoming._replace(event=event), now, claimed)
            return [passed_on(each) for each in built] if incoming.is_passed_on else built

        written = await self._writer.write_settled(room_id, build)
        for built in written:
            await self._remember(built)
        self._tell(room_id, written)

    async def _require_all(self, head: RoomHead, event: Event, around: Around) -> None:
        """Hold that nothing has to be asked for. Raises Unjudged."""
        if around.missing or await self._outliers.missing(event.auth_events):
            raise Unjudged
        if not await self._policy_servers.recommends(head, event):
            raise Unjudged

    async def _prepared(
        self,
        head: RoomHead,
        incoming: Incoming,
        around: Around,
        questions: Questions,
        *,
        fills_gaps: bool,
    ) -> tuple[Event, _State | None] | None:
        """Ask for what an event lacks; return it with the state that fills a gap, if one is left.

        None: nothing is to be done about the event any more. Raises Unjudged.
        """
        event, origin = incoming.event, incoming.origin
        room = Room(head.room_id, head.room_nid, head.rules)
        await self._outliers.complete_auth(room, event, origin, questions)
        if around.gap and fills_gaps:
            older = await self._gaps.older(head, event, around.gap, questions)
            if older is not None:
                between = [Incoming(each, older.server) for each in older.events]
                await self._take(head.room_id, between, questions, fills_gaps=False)
            now = await self._known.around(event, head)
            if now is None:
                return None
            around = now
        claimed = None
        if around.missing:
            claimed = await self._gaps.state_before(head, event, origin, questions)
        event = await questions.wait(lambda: self._policy_servers.signed_if_possible(head, event))
        return event, claimed

    def _tell(self, room_id: RoomID, written: Sequence[Built]) -> None:
        if written:
            event_ids = [built.event.event_id for built in written]
            for listener in self._listeners:
                listener(room_id, event_ids)

    async def _build(
        self, head: RoomHead, incoming: Incoming, stored: Around, claimed: _State | None
    ) -> Sequence[Built]:
        event = incoming.event
        cited = await self._judge.cited(event)
        if cited is None:
            raise Unjudged
        nid = stored.own.event_nid if stored.own else await self._row_numbers.event()
        self._states.remember_head(head)
        before = await self._state_before(head, event, stored, claimed)
        flags = await self._verdict(head, event, cited, before)
        if flags & REJECTED and not _is_kept(head, incoming):
            return []
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
        extremities = await self._ends.after(head, event, nid, stored)
        # State resolution reads it from there; it is not stored yet.
        self._cache.put(nid, event)
        is_levels = (event.type, event.state_key) == POWER_LEVELS
        edge = AuthEdge(nid, cited.nids, 0, is_levels)
        current = await self._ends.state(head, edge, after, extremities)
        site = Site(nid, cited.nids, before, after, current, extremities, partial)
        return [await self._placing.accepted(head, event, site)]

    async def _state_before(
        self, head: RoomHead, event: Event, stored: Around, claimed: _State | None
    ) -> RoomState:
        if not event.prev_events:
            return EMPTY
        if _is_follower(event, head):
            return state_of_head(head)
        states = [await self._states.after(each) for each in stored.prevs.values()]
        if stored.missing:
            assert claimed is not None
            changes = changes_between(head.state, claimed)
            now = state_of_head(head)
            changed = await self._states.with_changes(now, head.room_nid, changes)
            states.append(changed if changes else now)
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

    async def _remember(self, built: Built) -> None:
        """Note what a committed event is for those that follow it."""
        room_nid, event_id = built.write.room.room_nid, built.event.event_id
        async with self._database.connection("close_gaps") as connection:
            await received_events.close_gaps(connection, room_nid, [event_id])


def _is_kept(head: RoomHead, incoming: Incoming) -> bool:
    """Whether a rejected event is stored, so that it is known when others follow it.

    Nobody follows those of strangers, who could fill the disk with them.
    """
    if incoming.is_passed_on or head.is_partial_state:
        return True
    return is_joined(head, incoming.origin)


def _named(event: Event) -> dict[str, str]:
    """Return what logs say of an event: the sender tells whose fault it is."""
    return {"event_id": event.event_id, "sender": event.sender}


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
