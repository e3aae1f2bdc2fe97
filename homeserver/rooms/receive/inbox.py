"""The way of staged PDUs into their rooms: one room at a time on one node, several in parallel.

`stage.py` keeps a PDU → the inbox takes it up, in the order of prev events, and has it judged
(`take.py`, `judge.py`) by states (`states.py`, `resolution.py`) and written (`place.py`) → it
leaves the staging area (`staging.py`). Nobody is asked for anything on this way. What lacks other
events leaves it for `inquiries.py`, which gets them (`gaps.py`, `outliers.py`) in limited time,
while the room goes on. Should the node die in between, the event is found stored when its PDU is
taken up again; should two nodes take it up, one of them finds the room changed, and the event
stored.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from homeserver.errors import Forbidden
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.extremities import Extremities
from homeserver.rooms.receive.inquiries import Inquiries
from homeserver.rooms.receive.staging import Staging
from homeserver.rooms.receive.take import Incoming, TakeEvents
from homeserver.storage import inbound_pdus
from homeserver.storage.database import Database
from homeserver.storage.inbound_pdus import StagedPdu
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Rooms that are worked on at once by this node: most of their time goes to the database.
ROOMS_AT_ONCE: Final = 16
# Prolonged three times before it is over. After a crash others go on as soon as it is.
CLAIM_MS: Final = 30_000
_KEEP_SECONDS: Final = CLAIM_MS / 4_000
# Behind wake-ups of other nodes, which nobody sends.
POLL_SECONDS: Final = 1.0
_POLL_ROOMS: Final = 200


class Inbox:
    """Takes staged PDUs into rooms."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        staging: Staging,
        take_events: TakeEvents,
        inquiries: Inquiries,
        extremities: Extremities,
        tasks: Tasks,
        clock: Clock,
        *,
        node_id: str,
    ) -> None:
        self._database = database
        self._heads = heads
        self._staging = staging
        self._take_events = take_events
        self._inquiries = inquiries
        self._extremities = extremities
        self._tasks = tasks
        self._clock = clock
        self._node_id = node_id
        self._working: dict[RoomID, asyncio.Task[None]] = {}
        # Rooms that got more PDUs while they were being worked on.
        self._again: set[RoomID] = set()
        # Events that were taken in here, for which others may have waited.
        self._arrived: dict[RoomID, set[EventID]] = {}
        self._claimed: set[RoomID] = set()
        self._places = asyncio.Semaphore(ROOMS_AT_ONCE)
        take_events.on_taken(self._note_arrival)
        inquiries.on_end(lambda room_id: self.wake([room_id]))

    def start(self) -> None:
        """Begin to take in what was staged, by whichever node, now and in the future."""
        self._tasks.every("inbound rooms", POLL_SECONDS, self.poll)
        self._tasks.every("inbound claims", _KEEP_SECONDS, self.keep_claims)

    async def stage(self, origin: ServerName, events: Sequence[Event]) -> bool:
        """Keep events durably and take them in soon; False: too many wait, and none is kept."""
        if not await self._staging.add(origin, events):
            return False
        self.wake({event.room_id for event in events})
        return True

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

    async def keep_claims(self) -> None:
        """Keep other nodes away from what this one is still at work on."""
        if self._claimed:
            until_ms = self._clock.now_ms() + CLAIM_MS
            async with self._database.connection("inbound_rooms") as connection:
                await inbound_pdus.keep_rooms(connection, self._claimed, self._node_id, until_ms)
        await self._inquiries.keep()

    async def drained(self) -> None:
        """Wait until nothing is being worked on here. For tests and benchmarks."""
        while working := [*self._working.values(), *self._inquiries.working]:
            await asyncio.wait(working)

    def _note_arrival(self, room_id: RoomID, event_ids: Sequence[EventID]) -> None:
        self._arrived.setdefault(room_id, set()).update(event_ids)
        if room_id not in self._working:
            self.wake([room_id])

    async def _work(self, room_id: RoomID) -> None:
        try:
            async with self._places:
                is_any_held = True
                if await self._claim(room_id):
                    self._claimed.add(room_id)
                    try:
                        is_any_held = await self._drain(room_id)
                    finally:
                        self._claimed.discard(room_id)
                        await self._release(room_id)
                await self._recall(room_id, is_any_held=is_any_held)
        finally:
            self._working.pop(room_id, None)
            if room_id in self._again:
                self._again.discard(room_id)
                self.wake([room_id])

    async def _recall(self, room_id: RoomID, *, is_any_held: bool) -> None:
        """Have PDUs tried again that have waited for what was taken in, on whichever node."""
        arrived: Collection[EventID] = self._arrived.pop(room_id, ())
        if arrived and is_any_held and await self._staging.recall(room_id, arrived):
            self._again.add(room_id)

    async def _claim(self, room_id: RoomID) -> bool:
        now = self._clock.now_ms()
        async with self._database.connection("inbound_rooms") as connection:
            return await inbound_pdus.claim_room(
                connection, room_id, self._node_id, now, now + CLAIM_MS
            )

    async def _release(self, room_id: RoomID) -> None:
        async with self._database.connection("inbound_rooms") as connection:
            await inbound_pdus.release_room(connection, room_id, self._node_id)

    async def _drain(self, room_id: RoomID) -> bool:
        """Take in what is due. Whether other PDUs may be held."""
        is_any_held = True
        while staged := await self._staging.due(room_id):
            # What has failed together is tried again one by one.
            alone = [[each] for each in staged if each.attempts]
            for group in [[each for each in staged if not each.attempts], *alone]:
                if group:
                    async with self._staging.put_off_if_failing(room_id, group):
                        is_any_held = await self._take(room_id, group)
            if not await self._claim(room_id):
                return True
        await self._extremities.thin(room_id)
        return is_any_held

    async def _take(self, room_id: RoomID, staged: Sequence[StagedPdu]) -> bool:
        head = await self._heads.head(room_id)
        unjudged: list[EventID] = []
        if head is not None and head.local_joined:
            events = await self._staging.events(head, staged)
            origins = {each.event_id: each.origin for each in staged}
            incoming = [Incoming(event, origins[event.event_id]) for event in events]
            try:
                unjudged = await self._take_events.take_complete(room_id, incoming)
            except Forbidden:
                log.warning("room gone with staged events", room_id=room_id)
        lacking = [each for each in staged if each.event_id in unjudged]
        if lacking:
            await self._inquiries.begin(room_id, lacking)
        ended = [each for each in staged if each.event_id not in unjudged]
        return await self._staging.end(room_id, ended)
