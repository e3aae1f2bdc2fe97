"""The writer of the log: packs all changes that wait into one transaction.

While one commit is in flight the next batch fills, so that a busy server pays for one round trip
and one fsync per batch and not per change.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from homeserver.storage.database import Connection, Database
from homeserver.streams.bus import Bus
from homeserver.streams.entries import LogEntry
from homeserver.streams.tail import Tail
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# One statement of this many events takes about 20 ms; more would only delay the first of them.
MAX_BATCH: Final = 250


class Lost(Exception):
    """The change was built on something that another node changed first: build it again."""


class Outcome(NamedTuple):
    """What became of a batch: positions (base_pos, upto], and the losers by their place in it."""

    base_pos: int
    upto: int
    entries: Sequence[LogEntry]
    lost: frozenset[int]


class Appender(Protocol):
    """Writes one kind of change; each kind of the log has one."""

    @property
    def locks_rooms(self) -> bool:
        """Whether rows of rooms are locked before the log: such kinds are written first."""
        ...

    async def append(self, connection: Connection, writes: Sequence[Any]) -> Outcome:
        """Write a batch with one statement that takes its positions."""
        ...


class _Waiting(NamedTuple):
    appender: Appender
    write: object
    future: "asyncio.Future[None]"
    on_lost: Callable[[], None] | None


# What became of each kind of a batch, with those who wait for it.
_Outcomes: TypeAlias = Sequence[tuple[Outcome, Sequence[_Waiting]]]


class LogWriter:
    """The only writer of the hot kinds of changes in this process."""

    def __init__(
        self, database: Database, tail: Tail, bus: Bus, tasks: Tasks, metrics: Metrics
    ) -> None:
        self._database = database
        self._tail = tail
        self._bus = bus
        self._tasks = tasks
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    def append(
        self, appender: Appender, write: object, *, on_lost: Callable[[], None] | None = None
    ) -> "asyncio.Future[None]":
        """Queue a change; the future is done after the commit, or raises Lost.

        Changes that are queued in one order by one appender are written in that order. `on_lost`
        is called at once when the change has lost, before anybody who waits is resumed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(appender, write, future, on_lost))
        if self._writing is None:
            self._writing = self._tasks.spawn("log writer", self._write_all())
        return future

    async def drain(self) -> None:
        """Wait until everything that was queued is written: before the process ends."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def announce(self, position: int) -> None:
        """Tell the tail and the other nodes of a position that a transaction of its own took."""
        self._tail.expect(position)
        self._bus.announce(position)

    async def told(self, position: int) -> None:
        """Announce a position and wait until this node's readers know what it stands for.

        Then the next request of the client whose change it was finds the change.
        """
        self.announce(position)
        await self._tail.reach(position)

    async def _write_all(self) -> None:
        batch: Sequence[_Waiting] = ()
        try:
            # Requests that are ready in this turn of the loop join the first batch.
            await asyncio.sleep(0)
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        except asyncio.CancelledError:
            abandoned, self._waiting = [*batch, *self._waiting], []
            _fail(abandoned, DatabaseStopped())
            raise
        finally:
            self._writing = None

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        self._metrics.log_batch_size.observe(len(batch))
        try:
            outcomes = await self._commit(batch)
        except Exception as error:  # noqa: BLE001 - told to those who wait, one by one
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One bad change must not take the others with it.
            log.warning("batch failed and is written one by one", size=len(batch), error=str(error))
            for waiting in batch:
                await self._write([waiting])
        else:
            self._settle(outcomes)

    async def _commit(self, batch: Sequence[_Waiting]) -> _Outcomes:
        kinds: dict[Appender, list[_Waiting]] = {}
        for waiting in batch:
            kinds.setdefault(waiting.appender, []).append(waiting)
        if len(kinds) == 1:
            async with self._database.connection("log_writer") as connection:
                return await _append_kinds(connection, kinds)
        async with self._database.transaction("log_writer") as tx:
            return await _append_kinds(tx, kinds)

    def _settle(self, outcomes: _Outcomes) -> None:
        """Tell the tail, the other nodes and those who wait, in this order."""
        upto = 0
        try:
            upto = self._publish([outcome for outcome, _ in outcomes])
        except Exception:
            # What is committed must not be written again because of who listens.
            log.exception("what was committed could not be published")
        _tell_losers(outcomes)
        if upto > self._tail.position:
            # Somebody else's position came in between, and the tail must read it first.
            self._tasks.spawn("late answers", self._answer_when_told(upto, outcomes))
            return
        _answer(outcomes)

    async def _answer_when_told(self, upto: int, outcomes: _Outcomes) -> None:
        """Let those go on who wait, when this node's readers know what they have written.

        A client that is told of its join must not be refused because a cache is behind.
        """
        try:
            await self._tail.reach(upto)
        finally:
            _answer(outcomes)

    def _publish(self, outcomes: Sequence[Outcome]) -> int:
        """Return the last position that was taken."""
        # The log is held from the first position taken, so what follows is without gaps; kinds
        # that took none may have looked at it before another node's commit.
        taken = [outcome for outcome in outcomes if outcome.upto > outcome.base_pos]
        if not taken:
            return 0
        base_pos, upto = taken[0].base_pos, taken[-1].upto
        entries = [entry for outcome in taken for entry in outcome.entries]
        self._tail.committed(base_pos, entries, upto)
        self._bus.announce(upto)
        return upto


class DatabaseStopped(Exception):
    """The writer was stopped before the change was known to be committed."""


async def _append_kinds(connection: Connection, kinds: dict[Appender, list[_Waiting]]) -> _Outcomes:
    # Room rows, then the log: otherwise two nodes could wait for each other.
    ordered = sorted(kinds, key=lambda appender: not appender.locks_rooms)
    return [
        (await each.append(connection, [one.write for one in kinds[each]]), kinds[each])
        for each in ordered
    ]


def _tell_losers(outcomes: _Outcomes) -> None:
    for outcome, waiting in outcomes:
        for place in outcome.lost:
            each = waiting[place]
            if each.on_lost is not None:
                each.on_lost()
            if not each.future.done():
                each.future.set_exception(Lost())


def _answer(outcomes: _Outcomes) -> None:
    for outcome, waiting in outcomes:
        for place, each in enumerate(waiting):
            if place not in outcome.lost and not each.future.done():
                each.future.set_result(None)


def _fail(batch: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        if waiting.on_lost is not None:
            waiting.on_lost()
        if not waiting.future.done():
            waiting.future.set_exception(error)
