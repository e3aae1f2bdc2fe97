"""Following the log: background work that handles every entry that concerns it, once, in order.

Nobody is called from the write path. Federation sender, application services, pushers, indexes:
each follows from its own position, which is stored with the effects.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from homeserver.protocol.backoff import retry_delay_ms
from homeserver.storage.database import Transaction
from homeserver.streams.entries import LogEntry
from homeserver.streams.leases import Grant, LeaseLost, Leases
from homeserver.streams.tail import Tail
from homeserver.telemetry import context
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# About 1 MB of entries; the transaction that handles them stays short.
MAX_POSITIONS: Final = 1_000
# A failing follower delays only itself; a minute after the fault is gone it works again.
_MAX_PAUSE_MS: Final = 60_000
# What is in hand is finished before the node stops; longer work is cut off and done again.
_STOP_SECONDS: Final = 4.0


class Stretch:
    """The entries of a stretch of the log that concern a follower, and the way to be done."""

    def __init__(
        self, entries: Sequence[LogEntry], leases: Leases, name: str, after: int, upto: int
    ) -> None:
        self.entries: Final = entries
        self.is_done = False
        self._leases = leases
        self._name = name
        self._after = after
        self._upto = upto

    @contextlib.asynccontextmanager
    async def done(self) -> AsyncIterator[Transaction]:
        """Open the one transaction that also stores that the stretch is handled.

        What is written in it happens once. What is done before it and elsewhere is repeated after
        a crash; what is done after it is lost by one. Raises LeaseLost, which handling code lets
        through.
        """
        assert not self.is_done, "a stretch of the log is done once"
        async with self._leases.storing(self._name, self._after, self._upto) as tx:
            yield tx
        self.is_done = True


class FollowerWork(Protocol):
    """What a follower does."""

    def concerns(self, entry: LogEntry) -> bool:
        """Whether the follower needs to see an entry; asked often, so answer at once."""
        ...

    async def handle(self, stretch: Stretch) -> None:
        """Handle entries, at least one, in order; see `Stretch.done`.

        When it returns without having been done, the position is stored by itself. When it
        raises, the same entries come again after a pause, one by one.
        """
        ...


class Follower:
    """One follower on this node: it works while the node holds its lease."""

    def __init__(
        self,
        name: str,
        work: FollowerWork,
        tail: Tail,
        leases: Leases,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.name: Final = name
        self._work = work
        self._tail = tail
        self._leases = leases
        self._tasks = tasks
        self._clock = clock
        self._lag = metrics.follower_lag.labels(name)
        self._held_until = float("-inf")
        self._failures = 0
        # Of a stretch that has failed, the entries are handled one by one: all that can be are.
        self._careful_until = 0
        self._has_work = asyncio.Event()
        self._is_stopping = False
        self._is_paused = False
        self._running: asyncio.Task[None] | None = None
        self._step: asyncio.Task[bool | None] | None = None
        # Under the lease: whatever is at or before it is handled or concerns nobody.
        self.position = 0

    @property
    def holds_lease(self) -> bool:
        """Whether this node is the one where the follower works."""
        return self._clock.monotonic() < self._held_until

    def start(self) -> None:
        """Begin to work as soon as there is a lease and something to do."""
        self._running = self._tasks.spawn("follower", self._run())

    async def stop(self) -> None:
        """Finish the stretch in hand, if that takes seconds, and end."""
        self._is_stopping = True
        if self._step is not None:
            await asyncio.wait([self._step], timeout=_STOP_SECONDS)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running], timeout=_STOP_SECONDS)

    async def pause(self) -> None:
        """Finish the stretch in hand, however long it takes, and begin no other."""
        self._is_paused = True
        if self._step is not None:
            await asyncio.wait([self._step])

    def resume(self) -> None:
        """Go on after a pause, if there is a lease."""
        self._is_paused = False
        self._has_work.set()

    def released(self) -> None:
        """Take note that the lease was given up."""
        self._held_until = float("-inf")

    def granted(self, grant: Grant) -> None:
        """Take the lease, or its renewal."""
        if not self.holds_lease:
            # What is stored counts, not how far this node had come when it had the lease before.
            self.position = 0
        self._held_until = max(self._held_until, grant.held_until)
        self.position = max(self.position, grant.position)
        self._has_work.set()

    def advanced(self, before: int, entries: Sequence[LogEntry]) -> None:
        """Take note that the tail has come from `before` to where it is, over these entries.

        Without the lease nothing is passed over: whoever has it judges what concerns the work.
        """
        if not self.holds_lease:
            return
        if self.position == before and not any(map(self._work.concerns, entries)):
            # Most entries concern few followers: that costs no statement and no task switch.
            self.position = self._tail.position
        else:
            self._has_work.set()

    def report_lag(self) -> None:
        """Set the metric; on nodes where the follower does not work, it is 0."""
        self._lag.set(self._tail.position - self.position if self.holds_lease else 0)

    async def _run(self) -> None:
        context.bind_only({"follower": self.name})
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._may_work():
                await self._work_once()
            self.report_lag()

    def _may_work(self) -> bool:
        if self._is_stopping or self._is_paused:
            return False
        return self.holds_lease and self._tail.position > self.position

    async def _work_once(self) -> None:
        # As a task of its own, whose failure is logged and counted like that of any other.
        self._step = self._tasks.spawn("follower step", self._handle_next())
        succeeded = await self._step
        self._step = None
        if succeeded:
            self._failures = 0
            return
        self._failures += 1
        pause_ms = min(retry_delay_ms(self._failures, jitter=0.0), _MAX_PAUSE_MS)
        await self._clock.sleep(pause_ms / 1000)

    async def _handle_next(self) -> bool:
        after = self.position
        is_careful = after < self._careful_until
        upto = min(self._tail.position, after + (1 if is_careful else MAX_POSITIONS))
        self._careful_until = max(self._careful_until, upto)
        between = await self._tail.between(after, upto)
        entries = [entry for entry in between if self._work.concerns(entry)]
        if entries:
            try:
                await self._handle(Stretch(entries, self._leases, self.name, after, upto))
            except LeaseLost:
                log.info("another node has taken the follower over")
                self.released()
                return True
        self.position = max(self.position, upto)
        return True

    async def _handle(self, stretch: Stretch) -> None:
        await self._work.handle(stretch)
        if not stretch.is_done:
            async with stretch.done():
                pass
