"""Group commit: what waits is committed together, and everybody learns what became of it."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from homeserver.storage import log as log_table
from homeserver.storage.database import Connection
from homeserver.streams.entries import LogEntry, UserEntry
from homeserver.streams.log_writer import MAX_BATCH, DatabaseStopped, Lost, Outcome
from tests.streams.nodes import StreamNode, UserChanges


class Counted(UserChanges):
    """Remembers the sizes of the batches; holds them back while the gate is closed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def append(self, connection: Connection, writes: Sequence[str]) -> Outcome:
        self.sizes.append(len(writes))
        self.begun.set()
        await self.gate.wait()
        return await super().append(connection, writes)


def users(entries: Sequence[LogEntry]) -> list[str]:
    return [entry.user_id for entry in entries if isinstance(entry, UserEntry)]


async def test_changes_of_one_turn_are_one_batch_in_the_order_of_the_queue(
    node: StreamNode,
) -> None:
    changes = Counted()
    names = [f"u{n}" for n in range(20)]
    await asyncio.gather(*(node.writer.append(changes, name) for name in names))
    assert changes.sizes == [20]
    assert users(node.tail.entries_after(0)) == names
    assert users(await node.reader.read(0, 20)) == names


async def test_the_next_batch_fills_while_one_commits(node: StreamNode) -> None:
    changes = Counted()
    changes.gate.clear()
    first = node.writer.append(changes, "first")
    await changes.begun.wait()
    rest = [node.writer.append(changes, f"u{n}") for n in range(MAX_BATCH + 5)]
    changes.gate.set()
    await asyncio.gather(first, *rest)
    assert changes.sizes == [1, MAX_BATCH, 5]


async def test_the_tail_has_the_change_before_its_writer_goes_on(node: StreamNode) -> None:
    await node.writer.append(UserChanges(), "u")
    assert node.tail.position == 1


async def test_the_tail_has_the_change_even_behind_a_foreign_position(node: StreamNode) -> None:
    async with node.database.transaction("foreign") as tx:
        await log_table.append_user_change(tx, "foreign", "kind")
    await node.writer.append(UserChanges(), "u")
    assert node.tail.position == 2
    assert users(node.tail.entries_after(0)) == ["foreign", "u"]


async def test_a_loser_learns_it_and_the_others_are_written(node: StreamNode) -> None:
    changes = UserChanges()
    told: list[str] = []
    lost = node.writer.append(changes, "lost u", on_lost=lambda: told.append("lost"))
    won = node.writer.append(changes, "u", on_lost=lambda: told.append("won"))
    await won
    with pytest.raises(Lost):
        await lost
    assert told == ["lost"]
    assert users(await node.reader.read(0, 9)) == ["u"]


async def test_whoever_waits_is_told_after_on_lost(node: StreamNode) -> None:
    order: list[str] = []
    lost = node.writer.append(UserChanges(), "lost", on_lost=lambda: order.append("on_lost"))
    lost.add_done_callback(lambda _: order.append("future"))
    await asyncio.wait([lost])
    assert order == ["on_lost", "future"]
    assert isinstance(lost.exception(), Lost)


async def test_one_bad_change_does_not_take_the_others_with_it(node: StreamNode) -> None:
    changes = Counted()
    told: list[str] = []
    futures = [
        node.writer.append(changes, name, on_lost=lambda name=name: told.append(name))
        for name in ("a", "bad", "b")
    ]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert told == ["bad"]
    assert changes.sizes == [3, 1, 1, 1]
    assert users(node.tail.entries_after(0)) == ["a", "b"]


async def test_a_change_whose_writer_has_gone_is_written_all_the_same(node: StreamNode) -> None:
    changes = UserChanges()
    told: list[str] = []
    gone = node.writer.append(changes, "lost", on_lost=lambda: told.append("lost"))
    gone.cancel()
    await node.writer.append(changes, "u")
    assert told == ["lost"]


async def test_kinds_of_one_batch_are_committed_together(node: StreamNode) -> None:
    one, two = Counted(), Counted()
    results = await asyncio.gather(
        node.writer.append(one, "a"),
        node.writer.append(two, "b"),
        node.writer.append(one, "c"),
        return_exceptions=True,
    )
    assert results == [None, None, None]
    assert (one.sizes, two.sizes) == ([2], [1])
    assert users(node.tail.entries_after(0)) == ["a", "c", "b"]


async def test_kinds_of_a_batch_that_fails_are_rolled_back_together(node: StreamNode) -> None:
    one, two = Counted(), Counted()
    good = node.writer.append(one, "a")
    bad = node.writer.append(two, "bad")
    await asyncio.wait([good, bad])
    assert isinstance(bad.exception(), ValueError)
    # Written once with the bad one, rolled back, and once alone.
    assert one.sizes == [1, 1]
    assert users(await node.reader.read(0, 9)) == ["a"]


async def test_a_commit_of_another_node_between_two_kinds_is_not_skipped(
    node: StreamNode, other: StreamNode
) -> None:
    class Late(UserChanges):
        async def append(self, connection: Connection, writes: Sequence[str]) -> Outcome:
            await other.changes_silently("foreign")
            return await super().append(connection, writes)

    # The first kind takes no position, so that the log is not held when the other node commits.
    lost = node.writer.append(UserChanges(), "lost")
    await node.writer.append(Late(), "own")
    await asyncio.wait([lost])
    assert isinstance(lost.exception(), Lost)
    await node.tail.reach(2)
    assert users(node.tail.entries_after(0)) == ["foreign", "own"]


async def test_what_is_committed_is_not_written_again_when_a_listener_fails(
    node: StreamNode,
) -> None:
    def fail(_: Sequence[LogEntry]) -> None:
        raise RuntimeError("a bug in a cache")

    node.tail.follow(fail)
    changes = Counted()
    with capture_logs() as logs:
        await asyncio.gather(node.writer.append(changes, "a"), node.writer.append(changes, "b"))
    assert changes.sizes == [2]
    assert users(await node.reader.read(0, 9)) == ["a", "b"]
    assert "what was committed could not be published" in [each["event"] for each in logs]


async def test_draining_waits_for_everything_that_was_queued(node: StreamNode) -> None:
    changes = Counted()
    futures = [node.writer.append(changes, f"u{n}") for n in range(MAX_BATCH + 1)]
    await node.writer.drain()
    assert all(future.done() for future in futures)
    await node.writer.drain()


async def test_a_stop_tells_everybody_who_waits(node: StreamNode) -> None:
    changes = Counted()
    changes.gate.clear()
    in_hand = [node.writer.append(changes, f"u{n}") for n in range(MAX_BATCH)]
    queued = node.writer.append(changes, "later")
    await changes.begun.wait()
    await node.tasks.stop()
    outcomes = [future.exception() for future in (*in_hand, queued)]
    assert all(isinstance(outcome, DatabaseStopped) for outcome in outcomes)


async def test_an_announced_position_is_read_back(node: StreamNode) -> None:
    position = await node.changes_silently("u")
    node.writer.announce(position)
    await node.tail.reach(position)
    assert users(node.tail.entries_after(0)) == ["u"]
