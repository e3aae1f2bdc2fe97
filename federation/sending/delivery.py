"""Working on outboxes: one transaction at a time each, many at once, and pauses after failures."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from federation.policy import FederationPolicy
from federation.sending.catch_up import CatchUp, Page
from federation.sending.outbox import Outbox
from federation.sending.shards import Shard
from federation.sending.transactions import Contents, Transactions, may_pass_later, room_for
from federation.transport.destinations import Destinations
from federation.transport.failures import RemoteRefusal
from homeserver.errors import RemoteError
from homeserver.protocol.edu import MAX_PDUS
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.identifiers import ServerName
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Transactions on their way at once. Servers that failed last time have slots of their own, since
# each of them may take a minute to fail again.
MAX_HEALTHY: Final = 500
MAX_SUSPECT: Final = 100
# Pages that are read at once, so that a thousand servers that are back leave connections free.
_MAX_READING: Final = 4
# How often it is looked whether another node has found out that a server is there again.
_LOOK_MS: Final = 60_000
_AFTER_FAULT_MS: Final = 5_000


class _Sleeping(NamedTuple):
    due_ts: int
    shard: Shard
    outbox: Outbox


class Deliveries:
    """Empties outboxes; `position` says how far the log has been routed into them."""

    def __init__(
        self,
        transactions: Transactions,
        catch_up: CatchUp,
        destinations: Destinations,
        policy: FederationPolicy,
        tasks: Tasks,
        clock: Clock,
        position: Callable[[], int],
    ) -> None:
        self._transactions = transactions
        self._catch_up = catch_up
        self._destinations = destinations
        self._policy = policy
        self._tasks = tasks
        self._clock = clock
        self._position = position
        self._healthy: deque[tuple[Shard, Outbox]] = deque()
        self._suspect: deque[tuple[Shard, Outbox]] = deque()
        self._running_healthy = self._running_suspect = 0
        # Queued, or being worked on.
        self._active: set[ServerName] = set()
        self._sleeping: dict[ServerName, _Sleeping] = {}
        # When to look after whom, the first first; who is not asleep any more does no harm.
        self._due: list[tuple[int, ServerName]] = []
        self._running: dict[asyncio.Task[bool | None], Shard] = {}
        self._reading = asyncio.Semaphore(_MAX_READING)
        self._is_stopping = False

    def work(self, shard: Shard, outbox: Outbox) -> None:
        """Have an outbox emptied as soon as there is a slot, unless its server is left alone."""
        destination = outbox.destination
        if destination in self._active or destination in self._sleeping or self._is_stopping:
            return
        if shard.is_leaving:
            return
        self._active.add(destination)
        (self._suspect if outbox.has_failed else self._healthy).append((shard, outbox))
        self._start()

    def is_idle(self, destination: ServerName) -> bool:
        """Whether nothing is being done about a destination."""
        return destination not in self._active and destination not in self._sleeping

    def wake(self, destination: ServerName) -> None:
        """Try a server again that is left alone: it has spoken."""
        asleep = self._sleeping.pop(destination, None)
        if asleep is not None:
            self.work(asleep.shard, asleep.outbox)

    async def wake_due(self) -> None:
        """Try those again whose time has come."""
        now_ms = self._clock.now_ms()
        due: set[ServerName] = set()
        while self._due and self._due[0][0] <= now_ms:
            due_ts, server = heapq.heappop(self._due)
            asleep = self._sleeping.get(server)
            if asleep is not None and asleep.due_ts == due_ts:
                due.add(server)
        try:
            await self._look_after(due, now_ms)
        except BaseException:
            # The database is away: again at the next round.
            for server in due:
                asleep = self._sleeping.get(server)
                if asleep is not None and asleep.due_ts <= now_ms:
                    self._sleep(asleep)
            raise

    async def _look_after(self, due: Collection[ServerName], now_ms: int) -> None:
        await self._destinations.load(due)
        for server in due:
            asleep = self._sleeping.get(server)
            if asleep is None:
                continue
            retry_ts = await self._destinations.retry_ts(server)
            if retry_ts is not None and retry_ts > now_ms and asleep.shard.outboxes:
                due_ts = min(retry_ts, now_ms + _LOOK_MS)
                self._sleep(asleep._replace(due_ts=due_ts))
            else:
                self.wake(server)

    def drop(self, shard: Shard) -> None:
        """Forget the outboxes of a shard that another node has taken over."""
        shard.held_until = float("-inf")
        for destination in shard.outboxes:
            self._sleeping.pop(destination, None)

    async def stop(self, timeout_seconds: float) -> None:
        """Let what is on its way arrive, if it does soon."""
        self._is_stopping = True
        await _end(set(self._running), timeout_seconds)

    async def leave(self, shard: Shard, timeout_seconds: float) -> None:
        """Send no more for a shard, and let what is on its way arrive, if it does soon."""
        shard.is_leaving = True
        await _end({task for task, its in self._running.items() if its is shard}, timeout_seconds)

    def stay(self, shard: Shard) -> None:
        """Send again for a shard that does not leave after all."""
        shard.is_leaving = False
        for outbox in list(shard.outboxes.values()):
            if outbox.has_work:
                self.work(shard, outbox)

    def _start(self) -> None:
        while self._healthy and self._running_healthy < MAX_HEALTHY:
            self._running_healthy += 1
            self._spawn(*self._healthy.popleft(), is_suspect=False)
        while self._suspect and self._running_suspect < MAX_SUSPECT:
            self._running_suspect += 1
            self._spawn(*self._suspect.popleft(), is_suspect=True)

    def _spawn(self, shard: Shard, outbox: Outbox, *, is_suspect: bool) -> None:
        task = self._tasks.spawn("federation sending", self._deliver(shard, outbox))
        self._running[task] = shard

        def ended(_task: asyncio.Task[bool | None]) -> None:
            del self._running[task]
            self._active.discard(outbox.destination)
            if is_suspect:
                self._running_suspect -= 1
            else:
                self._running_healthy -= 1
            if self._is_stopping:
                return
            if not self._is_held(shard):
                # Others have waited for the slot.
                self._start()
                return
            if outbox.has_work and outbox.destination not in self._sleeping:
                if not task.cancelled() and task.result():
                    # Something has come just now.
                    self.work(shard, outbox)
                    return
                # A fault of this server: the database is away, say.
                due_ts = self._clock.now_ms() + _AFTER_FAULT_MS
                self._sleep(_Sleeping(due_ts, shard, outbox))
            self._start()

        task.add_done_callback(ended)

    def _is_held(self, shard: Shard) -> bool:
        return not shard.is_leaving and self._clock.monotonic() < shard.held_until

    async def _deliver(self, shard: Shard, outbox: Outbox) -> bool:
        while outbox.has_work and not self._is_stopping and self._is_held(shard):
            retry_ts = await self._destinations.retry_ts(outbox.destination)
            if retry_ts is not None and retry_ts > self._clock.now_ms():
                self._leave_alone(shard, outbox, retry_ts)
                break
            await self._send_next(outbox)
        return True

    def _leave_alone(self, shard: Shard, outbox: Outbox, retry_ts: int) -> None:
        """Keep only in mind how far the destination has come."""
        outbox.has_failed = True
        outbox.fall_behind()
        outbox.ephemeral.clear()
        if outbox.has_work:
            due_ts = min(retry_ts, self._clock.now_ms() + _LOOK_MS)
            self._sleep(_Sleeping(due_ts, shard, outbox))

    def _sleep(self, sleeping: _Sleeping) -> None:
        destination = sleeping.outbox.destination
        self._sleeping[destination] = sleeping
        heapq.heappush(self._due, (sleeping.due_ts, destination))

    async def _send_next(self, outbox: Outbox) -> None:
        page: Page | None = None
        taking_after = self._position()
        if outbox.cursor is not None:
            # What comes from here on is kept beside what is read.
            outbox.taking_after = taking_after
            async with self._reading:
                page = await self._catch_up.page(
                    outbox.destination, outbox.cursor, taking_after, room_for(outbox)
                )
        items = outbox.first(room_for(outbox)) if page is None else page.items
        contents = await self._transactions.fill(outbox, items)
        if not contents.is_empty and not await self._has_arrived(outbox, contents):
            return
        if page is None:
            outbox.sent(items)
        else:
            outbox.caught_up_to(page.upto, taking_after)

    async def _has_arrived(self, outbox: Outbox, contents: Contents) -> bool:
        """Send contents; True if they are not to be sent again."""
        destination, started_ts = outbox.destination, self._clock.now_ms()
        try:
            await self._transactions.send(destination, contents)
        except RemoteRefusal as refusal:
            if may_pass_later(refusal):
                if not refusal.is_temporary:
                    await self._destinations.failed(destination, started_ts=started_ts)
                self._keep(outbox, contents)
                return False
            return await self._refused(outbox, contents, str(refusal))
        except RemoteError:
            self._keep(outbox, contents)
            return False
        except InvalidJson as error:
            return await self._refused(outbox, contents, str(error))
        outbox.has_failed = False
        if outbox.max_items is not None:
            outbox.max_items = None if outbox.max_items * 2 >= MAX_PDUS else outbox.max_items * 2
        await self._transactions.acknowledged(destination, contents)
        return True

    def _keep(self, outbox: Outbox, contents: Contents) -> None:
        outbox.has_failed = True
        outbox.fall_behind()
        outbox.has_to_device |= bool(contents.messages)

    async def _refused(self, outbox: Outbox, contents: Contents, reason: str) -> bool:
        """Find out what a destination does not take, by sending less; leave that out."""
        if contents.size > 1 and outbox.max_items != 1:
            outbox.max_items = max(1, min(contents.size, room_for(outbox)) // 2)
            outbox.has_to_device |= bool(contents.messages)
            outbox.put_back(contents.ephemeral)
            if outbox.cursor is not None:
                outbox.fall_behind()
            return False
        log.warning("destination refuses", destination=outbox.destination, reason=reason)
        self._transactions.given_up(contents)
        await self._transactions.acknowledged(outbox.destination, contents)
        return True


async def _end(running: Collection[asyncio.Task[bool | None]], timeout_seconds: float) -> None:
    if not running:
        return
    _, late = await asyncio.wait(running, timeout=timeout_seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
