"""The way of staged PDUs into their rooms: one room at a time on one node, several in parallel.

`stage.py` keeps a PDU → the inbox takes it up, in the order of prev events → `take.py` gets what is
missing (`gaps.py`, `outliers.py`), judges it (`judge.py`) by states (`states.py`,
`resolution.py`) and has it written (`place.py`) → it leaves the staging area. Should the node die
in between, the event is found stored when its PDU is taken up again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.errors import Forbidden
from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.extremities import Extremities
from homeserver.rooms.receive.known import KnownEvents, is_outlier
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.pdus import received_event
from homeserver.rooms.receive.take import Incoming, TakeEvents
from homeserver.storage import inbound_pdus
from homeserver.storage.database import Database
from homeserver.storage.inbound_pdus import StagedPdu
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Rooms that are worked on at once by this node: most of their time goes to waiting for others.
ROOMS_AT_ONCE: Final = 16
# PDUs that are read at once; they follow each other in one or two statements.
BATCH: Final = 100
# Longer than any one event takes with all that has to be asked for.
CLAIM_MS: Final = 120_000
# Behind wake-ups of other nodes, which nobody sends.
POLL_SECONDS: Final = 1.0
_POLL_ROOMS: Final = 200
# What cannot be judged is tried again after 10 s, 20 s, …: given up after about 10 minutes.
_FIRST_PAUSE_MS: Final = 10_000
MAX_ATTEMPTS: Final = 6
# Events that were just staged, so that they are not parsed again; about 3 kB each.
_MAX_EXPECTED: Final = 5_000


class Inbox:
    """Takes staged PDUs into rooms."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        known: KnownEvents,
        take_events: TakeEvents,
        extremities: Extremities,
        tasks: Tasks,
        clock: Clock,
        *,
        node_id: str,
    ) -> None:
        self._database = database
        self._heads = heads
        self._known = known
        self._take_events = take_events
        self._extremities = extremities
        self._tasks = tasks
        self._clock = clock
        self._node_id = node_id
        self._expected: OrderedDict[EventID, Event] = OrderedDict()
        self._working: dict[RoomID, asyncio.Task[None]] = {}
        # Rooms that got more PDUs while they were being worked on.
        self._again: set[RoomID] = set()
        self._places = asyncio.Semaphore(ROOMS_AT_ONCE)

    def start(self) -> None:
        """Begin to take in what was staged, by whichever node, now and in the future."""
        self._tasks.every("inbound rooms", POLL_SECONDS, self.poll)

    def expect(self, event: Event) -> None:
        """Keep an event that was just staged."""
        self._expected[event.event_id] = event
        if len(self._expected) > _MAX_EXPECTED:
            self._expected.popitem(last=False)

    def wake(self, room_ids: Iterable[RoomID]) -> None:
        """Have staged PDUs of rooms taken in soon."""
        for room_id in room_ids:
            if room_id in self._working:
                self._again.add(room_id)
            else:
                self._working[room_id] = self._tasks.spawn("inbound room", self._work(room_id))

    async def poll(self) -> None:
        """Look for rooms with staged PDUs that nobody is at work on."""
        async with self._database.connection("inbound_rooms") as connection:
            waiting = await inbound_pdus.rooms_waiting(
                connection, self._clock.now_ms(), _POLL_ROOMS
            )
        self.wake(room_id for room_id in waiting if room_id not in self._working)

    async def drained(self) -> None:
        """Wait until nothing is being worked on here. For tests and benchmarks."""
        while self._working:
            await asyncio.wait(list(self._working.values()))

    async def _work(self, room_id: RoomID) -> None:
        try:
            async with self._places:
                if await self._claim(room_id):
                    try:
                        await self._drain(room_id)
                    finally:
                        await self._release(room_id)
        finally:
            self._working.pop(room_id, None)
            if room_id in self._again:
                self._again.discard(room_id)
                self.wake([room_id])

    async def _claim(self, room_id: RoomID) -> bool:
        now = self._clock.now_ms()
        async with self._database.connection("inbound_rooms") as connection:
            return await inbound_pdus.claim_room(
                connection, room_id, self._node_id, now, now + CLAIM_MS
            )

    async def _release(self, room_id: RoomID) -> None:
        async with self._database.connection("inbound_rooms") as connection:
            await inbound_pdus.release_room(connection, room_id, self._node_id)

    async def _drain(self, room_id: RoomID) -> None:
        while True:
            async with self._database.connection("inbound_pdus") as connection:
                staged = await inbound_pdus.of_room(
                    connection, room_id, self._clock.now_ms(), BATCH
                )
            if not staged:
                break
            # What has failed together is tried again one by one.
            alone = [[each] for each in staged if each.attempts]
            for group in [[each for each in staged if not each.attempts], *alone]:
                if group:
                    await self._take_or_postpone(room_id, group)
            if not await self._claim(room_id):
                return
        await self._extremities.thin(room_id)

    async def _take_or_postpone(self, room_id: RoomID, staged: Sequence[StagedPdu]) -> None:
        """Take PDUs, and put them off should that raise: one bad event must not stop a room."""
        has_failed = True
        try:
            await self._take(room_id, staged)
            has_failed = False
        except asyncio.CancelledError:
            has_failed = False
            raise
        finally:
            if has_failed:
                await self._leave(staged, {each.event_id for each in staged})

    async def _take(self, room_id: RoomID, staged: Sequence[StagedPdu]) -> None:
        head = await self._heads.head(room_id)
        unjudged: list[EventID] = []
        if head is not None and head.local_joined:
            events = await self._events(head, staged)
            origins = {each.event_id: each.origin for each in staged}
            incoming = [Incoming(event, origins[event.event_id]) for event in events]
            try:
                unjudged = await self._take_events.take(room_id, incoming)
            except Forbidden:
                log.warning("room gone with staged events", room_id=room_id)
        for each in staged:
            self._expected.pop(each.event_id, None)
        await self._leave(staged, set(unjudged))

    async def _events(self, head: RoomHead, staged: Sequence[StagedPdu]) -> list[Event]:
        """Return the events that are not stored, each once, in the order to take them in."""
        facts = await self._known.facts(each.event_id for each in staged)
        events: dict[EventID, Event] = {}
        for each in staged:
            if is_outlier(facts.get(each.event_id)) and each.event_id not in events:
                event = self._expected.get(each.event_id) or _read(each, head)
                if event is not None:
                    events[each.event_id] = event
        return by_prev_events(list(events.values()))

    async def _leave(self, staged: Sequence[StagedPdu], unjudged: set[EventID]) -> None:
        later: list[StagedPdu] = []
        for each in staged:
            if each.event_id not in unjudged:
                continue
            if each.attempts + 1 < MAX_ATTEMPTS:
                later.append(each)
            else:
                log.warning("pdu given up", origin=each.origin, event_id=each.event_id)
        kept = {each.inbound_nid for each in later}
        now = self._clock.now_ms()
        async with self._database.transaction("inbound_pdus") as tx:
            await inbound_pdus.unstage(
                tx, [each.inbound_nid for each in staged if each.inbound_nid not in kept]
            )
            if later:
                await inbound_pdus.postpone(
                    tx,
                    [each.inbound_nid for each in later],
                    [now + (_FIRST_PAUSE_MS << each.attempts) for each in later],
                )


def _read(staged: StagedPdu, head: RoomHead) -> Event | None:
    try:
        return received_event(msgspec.json.decode(staged.pdu), head.rules)
    except InvalidEvent as error:
        log.error("staged pdu cannot be read", event_id=staged.event_id, reason=str(error))
        return None
