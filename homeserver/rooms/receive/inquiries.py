"""Getting what staged PDUs lack, from their origins and others, while their rooms go on.

An inquiry is of one origin in one room. Its PDUs are held meanwhile, so that no node tries them;
they are tried all the same, and at once, when what they lack has come by another way.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from homeserver.errors import Forbidden
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID, ServerName, server_name_of
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.questions import OtherServers, Questions
from homeserver.rooms.receive.staging import Staging
from homeserver.rooms.receive.take import Incoming, TakeEvents
from homeserver.storage.inbound_pdus import StagedPdu
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Held again long before the time is over; after a crash, others go on as soon as it is.
HOLD_MS: Final = 30_000
# Each waits for others most of the time. It has up to `_AT_ONCE` events in memory, and an answer
# of up to 16 MiB.
INQUIRIES_AT_ONCE: Final = 32
_AT_ONCE: Final = 50
# Of these, so that servers that are slow on purpose leave places to others, and so do rooms of
# several of them, or with a policy server that does not answer.
_OF_ONE_ORIGIN: Final = 4
_OF_ONE_ROOM: Final = 8
# More of one origin wait where they cost no memory.
_QUEUED_OF_ONE: Final = 64
_QUEUE_AGAIN_MS: Final = 10_000
# An origin that has used its time up is not asked for so long, doubled each time.
_FIRST_PAUSE_MS: Final = 30_000
_MAX_PAUSE_MS: Final = 600_000
_MAX_PAUSES: Final = 10_000

EndListener: TypeAlias = Callable[[RoomID], None]


class _Inquiry:
    """The PDUs of one origin in one room that are asked about, in the order in which they came."""

    def __init__(self, room_id: RoomID, origin: ServerName) -> None:
        self.room_id = room_id
        self.origin = origin
        self.waiting: list[int] = []
        # Of those that were read, the ones that are being taken in are `at_work`.
        self.in_hand: list[int] = []
        self.at_work: list[int] = []


class _Pauses:
    """Until when origins are not asked, because they take too long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[ServerName, tuple[int, int]] = OrderedDict()

    def until_ms(self, origin: ServerName) -> int:
        until_ms, _ = self._until.get(origin, (0, 0))
        return until_ms

    def begin(self, origin: ServerName) -> int:
        _, times = self._until.pop(origin, (0, 0))
        # The first power of two beyond the maximum is as good as any other.
        pause_ms = min(_FIRST_PAUSE_MS << min(times, 10), _MAX_PAUSE_MS)
        self._until[origin] = (self._clock.now_ms() + pause_ms, times + 1)
        if len(self._until) > _MAX_PAUSES:
            self._until.popitem(last=False)
        return self.until_ms(origin)

    def forget(self, origin: ServerName) -> None:
        self._until.pop(origin, None)


class Inquiries:
    """Asks for what PDUs lack and takes them in, several origins at once."""

    def __init__(
        self,
        staging: Staging,
        heads: Heads,
        take_events: TakeEvents,
        others: OtherServers,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._staging = staging
        self._heads = heads
        self._take_events = take_events
        self._others = others
        self._tasks = tasks
        self._clock = clock
        self._pauses = _Pauses(clock)
        # In the order in which they began; those that are being asked about, and all of them.
        self._inquiries: dict[tuple[RoomID, ServerName], _Inquiry] = {}
        self._asking: dict[tuple[RoomID, ServerName], asyncio.Task[None]] = {}
        self._listeners: list[EndListener] = []

    def on_end(self, listener: EndListener) -> None:
        """Call `listener` when PDUs of a room that were held may be due."""
        self._listeners.append(listener)

    @property
    def working(self) -> Sequence["asyncio.Task[None]"]:
        """What is being asked at the moment. For tests and benchmarks."""
        return list(self._asking.values())

    async def begin(self, room_id: RoomID, staged: Sequence[StagedPdu]) -> None:
        """Have what PDUs lack asked for, and them taken in; they are held when it returns."""
        by_origin: dict[ServerName, list[StagedPdu]] = {}
        for each in staged:
            by_origin.setdefault(each.origin, []).append(each)
        for origin, of_origin in by_origin.items():
            # One statement for each origin of a batch.
            admitted = await self._staging.admit(room_id, origin, of_origin)
            await self._begin(room_id, origin, [each.inbound_nid for each in admitted])

    async def keep(self) -> None:
        """Hold what is being asked about for longer."""
        now = self._clock.now_ms()
        nids = [
            nid
            for each in self._inquiries.values()
            for nid in (*each.at_work, *each.in_hand, *each.waiting)
        ]
        await self._staging.hold(nids, now + HOLD_MS)

    async def _begin(self, room_id: RoomID, origin: ServerName, nids: Sequence[int]) -> None:
        key, now = (room_id, origin), self._clock.now_ms()
        until_ms = self._pauses.until_ms(origin)
        of_origin = sum(each == origin for _, each in self._inquiries)
        if until_ms <= now and key not in self._inquiries and of_origin >= _QUEUED_OF_ONE:
            until_ms = now + _QUEUE_AGAIN_MS
        if until_ms > now:
            await self._staging.hold(nids, until_ms)
            return
        await self._staging.hold(nids, now + HOLD_MS)
        inquiry = self._inquiries.setdefault(key, _Inquiry(room_id, origin))
        inquiry.waiting += [nid for nid in nids if nid not in inquiry.waiting]
        self._ask_more()

    def _ask_more(self) -> None:
        """Start the inquiries for which there are places."""
        of_room = Counter(room_id for room_id, _ in self._asking)
        of_origin = Counter(origin for _, origin in self._asking)
        for key, inquiry in self._inquiries.items():
            if len(self._asking) >= INQUIRIES_AT_ONCE:
                break
            room_id, origin = key
            is_free = of_room[room_id] < _OF_ONE_ROOM and of_origin[origin] < _OF_ONE_ORIGIN
            if key not in self._asking and is_free:
                of_room[room_id] += 1
                of_origin[origin] += 1
                task = self._tasks.spawn("inbound inquiry", self._run(inquiry))
                self._asking[key] = task
                task.add_done_callback(partial(self._end, key))

    def _end(self, key: tuple[RoomID, ServerName], task: "asyncio.Task[None]") -> None:
        del self._asking[key]
        if task.cancelled():
            # The node stops.
            return
        self._ask_more()
        for listener in self._listeners:
            listener(key[0])

    async def _run(self, inquiry: _Inquiry) -> None:
        origin = inquiry.origin
        try:
            while inquiry.waiting and self._pauses.until_ms(origin) <= self._clock.now_ms():
                await self._ask(inquiry)
        finally:
            del self._inquiries[inquiry.room_id, origin]
            # What has come meanwhile waits as long as its origin does.
            left = [*inquiry.in_hand, *inquiry.waiting]
            await self._staging.hold(left, self._pauses.until_ms(origin))

    async def _ask(self, inquiry: _Inquiry) -> None:
        """Take the first PDUs in within one budget of time."""
        inquiry.in_hand, inquiry.waiting = inquiry.waiting[:_AT_ONCE], inquiry.waiting[_AT_ONCE:]
        staged = await self._staging.read(inquiry.in_hand)
        head = await self._heads.head(inquiry.room_id)
        if head is None or not head.local_joined:
            inquiry.in_hand = []
            await self._staging.end(inquiry.room_id, staged)
            return
        events = await self._staging.events(head, staged)
        questions = self._questions(head, inquiry.origin, events)
        # What has failed together is tried again one by one.
        alone = [[each] for each in staged if each.attempts]
        for group in [[each for each in staged if not each.attempts], *alone]:
            if group:
                inquiry.at_work = [each.inbound_nid for each in group]
                inquiry.in_hand = [nid for nid in inquiry.in_hand if nid not in inquiry.at_work]
                await self._take_or_put_off(inquiry, group, events, questions)
        inquiry.in_hand = []
        if questions.has_origin_dawdled:
            log.warning("origin takes too long", origin=inquiry.origin)
            self._pauses.begin(inquiry.origin)
        else:
            self._pauses.forget(inquiry.origin)

    def _questions(self, head: RoomHead, origin: ServerName, events: Sequence[Event]) -> Questions:
        senders = {server_name_of(event.sender) for event in events}
        return Questions(self._clock, origin, lambda: self._others.of(head, origin, senders))

    async def _take_or_put_off(
        self,
        inquiry: _Inquiry,
        staged: Sequence[StagedPdu],
        events: Sequence[Event],
        questions: Questions,
    ) -> None:
        """Take PDUs in, or have them wait."""
        room_id = inquiry.room_id
        lacking = await self._staging.lacking(staged)
        event_ids = {each.event_id for each in staged}
        incoming = [Incoming(each, inquiry.origin) for each in events if each.event_id in event_ids]
        async with self._staging.put_off_if_failing(room_id, staged):
            try:
                unjudged = await self._take_events.take_asking(room_id, incoming, questions)
            except Forbidden:
                log.warning("room gone with staged events", room_id=room_id)
                unjudged = []
        # From here on nobody prolongs their wait.
        inquiry.at_work = []
        later = [each for each in staged if each.event_id in unjudged]
        await self._staging.end(room_id, [each for each in staged if each not in later])
        if later:
            await self._staging.put_off_unless_complete(room_id, later, lacking)
