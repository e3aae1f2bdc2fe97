"""The tail: what it says, whom it tells, and that hints are only hints."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from homeserver.streams.entries import LogEntry
from homeserver.streams.log_reader import LogReader
from homeserver.streams.tail import Tail
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.streams.log_model import LogModel, Written
from tests.streams.nodes import StreamNode
from tests.support.clock import FakeClock


class Listener:
    """Remembers what it was told."""

    def __init__(self, tail: Tail) -> None:
        self.positions: list[int] = []
        self.gaps = 0
        tail.follow(self._take, on_gap=self._forget)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        self.positions.extend(entry.pos for entry in entries)

    def _forget(self) -> None:
        self.gaps += 1


class SlowLog(LogModel):
    """Lets a test act while the tail looks at the head."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.looking = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def head(self) -> int:
        head = len(self.written)
        self.looks += 1
        self.looking.set()
        await self.may_answer.wait()
        return head


def grow(log: LogModel, count: int = 1) -> int:
    for _ in range(count):
        log.append(Written(len(log.written) + 1, 0))
    return len(log.written)


def tail_of(log: LogModel, *, max_entries: int = 1_000, max_gap: int = 1_000) -> Tail:
    tasks = Tasks(FakeClock(), Metrics())
    return Tail(cast(LogReader, log), tasks, max_entries=max_entries, max_gap=max_gap)


async def test_the_tail_begins_at_the_head_and_not_with_the_past() -> None:
    log = LogModel()
    grow(log, 7)
    tail = tail_of(log)
    await tail.start()
    assert (tail.position, tail.floor, tail.entries_after(7)) == (7, 7, [])


async def test_followers_are_told_of_every_entry_once_and_in_order() -> None:
    log = LogModel()
    tail = tail_of(log)
    listener = Listener(tail)
    await tail.reach(grow(log, 3))
    base = len(log.written)
    grow(log)
    tail.committed(base, await log.read(base, base + 1), base + 1)
    tail.heard(2)
    assert listener.positions == [1, 2, 3, 4]


async def test_a_hint_that_comes_during_a_look_is_followed_too() -> None:
    log = SlowLog()
    tail = tail_of(log)
    tail.heard(grow(log))
    await log.looking.wait()
    second = grow(log)
    tail.heard(second)
    log.may_answer.set()
    await tail.reach(second)
    assert tail.position == 2


async def test_a_false_hint_changes_nothing_and_is_looked_into_once() -> None:
    log = SlowLog()
    log.may_answer.set()
    tail = tail_of(log, max_gap=5)
    listener = Listener(tail)
    await tail.reach(grow(log, 2))
    looks = log.looks
    tail.heard(10**15)
    for _ in range(50):
        await asyncio.sleep(0)
    assert log.looks == looks + 1
    assert (tail.position, listener.gaps) == (2, 0)
    await tail.catch_up()
    await tail.reach(grow(log))
    assert listener.positions == [1, 2, 3]


async def test_waiting_for_own_commits_does_not_wait_for_false_hints() -> None:
    log = SlowLog()
    tail = tail_of(log)
    tail.heard(10**15)
    async with asyncio.timeout(30):
        await tail.catch_up()


async def test_a_long_gap_is_skipped_and_followers_are_told() -> None:
    log = LogModel()
    tail = tail_of(log, max_gap=10)
    listener = Listener(tail)
    await tail.reach(grow(log, 2))
    await tail.reach(grow(log, 11))
    assert (listener.positions, listener.gaps) == ([1, 2], 1)
    assert (tail.floor, tail.position) == (13, 13)
    await tail.reach(grow(log))
    assert listener.positions == [1, 2, 14]


async def test_the_oldest_entries_fall_out() -> None:
    log = LogModel()
    tail = tail_of(log, max_entries=3)
    await tail.reach(grow(log, 5))
    assert (tail.floor, [entry.pos for entry in tail.entries_after(tail.floor)]) == (2, [3, 4, 5])


async def test_a_stretch_is_read_from_wherever_it_is() -> None:
    log = LogModel()
    tail = tail_of(log, max_entries=3)
    await tail.reach(grow(log, 6))
    in_memory = tail.entries_after(3)
    assert await tail.between(3, 5) == in_memory[:2]
    assert all(a is b for a, b in zip(await tail.between(3, 5), in_memory, strict=False))
    assert [entry.pos for entry in await tail.between(1, 4)] == [2, 3, 4]


async def test_what_came_since_a_position_ahead_of_the_tail_is_nothing() -> None:
    log = LogModel()
    tail = tail_of(log)
    position = grow(log, 2)
    assert await tail.since(position) == []
    assert tail.position == position


async def test_what_came_since_a_position_behind_the_tail_is_there() -> None:
    log = LogModel()
    tail = tail_of(log)
    await tail.reach(grow(log, 4))
    assert [entry.pos for entry in await tail.since(2) or []] == [3, 4]


async def test_what_came_since_before_a_gap_is_not_known() -> None:
    log = LogModel()
    tail = tail_of(log, max_gap=2)
    await tail.reach(grow(log, 1))
    await tail.reach(grow(log, 5))
    assert await tail.since(3) is None


async def test_a_failed_look_is_made_up_for_by_the_poll() -> None:
    class Failing(LogModel):
        is_away = False

        async def read(self, after: int, upto: int) -> list[LogEntry]:
            if self.is_away:
                raise ConnectionError
            return await super().read(after, upto)

    log = Failing()
    tail = tail_of(log)
    log.is_away = True
    reached = asyncio.ensure_future(tail.reach(grow(log)))
    for _ in range(20):
        await asyncio.sleep(0)
    log.is_away = False
    await tail.poll()
    await reached
    assert tail.position == 1


@pytest.mark.parametrize("misses", [1, 3])
async def test_commits_of_another_node_that_nobody_announces_are_found_by_the_poll(
    node: StreamNode, other: StreamNode, misses: int
) -> None:
    for number in range(misses):
        await other.changes_silently(f"u{number}")
    await node.tail.poll()
    await node.tail.reach(misses)
    assert len(node.tail.entries_after(0)) == misses
