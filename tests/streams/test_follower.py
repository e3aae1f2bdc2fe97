"""Followers handle every entry that concerns them once, in order, on one node."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from homeserver.streams.entries import LogEntry, UserEntry
from homeserver.streams.follower import MAX_POSITIONS, Stretch
from homeserver.streams.followers import RENEW_SECONDS
from homeserver.streams.leases import LEASE_SECONDS
from tests.streams.nodes import StreamNode
from tests.support.clock import FakeClock


class Diary:
    """Writes the users of the changes down, in a table of its own and in memory.

    Users whose names begin with "-" concern nobody.
    """

    def __init__(self, node: StreamNode) -> None:
        self._node = node
        self.batches: list[list[str]] = []
        self.before: Callable[[Stretch], Awaitable[None]] | None = None
        self._changed = asyncio.Event()

    def concerns(self, entry: LogEntry) -> bool:
        return isinstance(entry, UserEntry) and not entry.user_id.startswith("-")

    async def handle(self, stretch: Stretch) -> None:
        users = [entry.user_id for entry in stretch.entries if isinstance(entry, UserEntry)]
        if self.before is not None:
            await self.before(stretch)
        async with stretch.done() as tx:
            await tx.executemany(
                "INSERT INTO diary (user_id, node) VALUES ($1, $2)",
                [(user_id, id(self)) for user_id in users],
            )
        self.batches.append(users)
        self._changed.set()

    @property
    def handled(self) -> list[str]:
        return [user_id for batch in self.batches for user_id in batch]

    async def has(self, count: int) -> None:
        """Wait until so many changes are handled."""
        async with asyncio.timeout(60):
            while len(self.handled) < count:
                self._changed.clear()
                await self._changed.wait()


async def make_table(node: StreamNode) -> None:
    async with node.database.connection() as connection:
        await connection.execute(
            """
            CREATE TABLE IF NOT EXISTS diary (
                n bigint GENERATED ALWAYS AS IDENTITY, user_id text, node bigint
            )
            """
        )


async def started(node: StreamNode) -> Diary:
    """Return the diary of a node that follows the log."""
    await make_table(node)
    diary = Diary(node)
    node.followers.add("diary", diary)
    await node.followers.start()
    return diary


async def written(node: StreamNode) -> list[str]:
    async with node.database.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT user_id FROM diary ORDER BY n")]


async def is_written(node: StreamNode, count: int) -> bool:
    return len(await written(node)) == count


async def position(node: StreamNode) -> int:
    async with node.database.connection() as connection:
        pos: int = await connection.fetchval("SELECT pos FROM followers WHERE name = 'diary'")
        return pos


async def eventually(
    condition: Callable[[], Awaitable[bool]], node: StreamNode, clock: FakeClock
) -> None:
    """Let time pass, and the database answer, until something has come about."""
    for _ in range(1_000):
        if await condition():
            return
        await clock.advance(0.5)
        await node.reader.head()
    raise AssertionError("it does not come about")


def task_ends(node: StreamNode, name: str) -> float:
    labels = {"name": name, "outcome": "done"}
    value = node.metrics.registry.get_sample_value("homeserver_background_task_ends_total", labels)
    return value or 0


def stops_renewing(node: StreamNode) -> None:
    """Have the node miss its renewals, as one that is overloaded or cut off does."""
    assert node.followers._renewing is not None
    node.followers._renewing.cancel()


async def settle() -> None:
    """Let tasks run that need no I/O."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_every_change_is_handled_in_order(node: StreamNode) -> None:
    diary = await started(node)
    names = [f"u{n}" for n in range(10)]
    await node.changes(*names)
    await diary.has(10)
    assert diary.handled == names
    assert await written(node) == names
    assert await position(node) == 10


async def test_what_was_there_before_the_follower_is_handled_too(node: StreamNode) -> None:
    await node.changes("a", "b")
    diary = await started(node)
    await diary.has(2)
    assert diary.handled == ["a", "b"]


async def test_a_follower_that_begins_at_the_head_handles_only_what_is_new(
    node: StreamNode,
) -> None:
    await node.changes("old")
    await make_table(node)
    diary = Diary(node)
    node.followers.add("diary", diary, begins_at_head=True)
    await node.followers.start()
    await node.changes("new")
    await diary.has(1)
    assert diary.handled == ["new"]


async def test_a_long_log_is_handled_in_stretches(node: StreamNode) -> None:
    async with node.database.transaction() as tx:
        await tx.execute("UPDATE log_head SET pos = $1", MAX_POSITIONS * 2)
        await tx.execute(
            """
            INSERT INTO user_changes (pos, user_id, kind)
            SELECT n, 'u' || n, 'x' FROM generate_series(1, $1::bigint) n
            """,
            MAX_POSITIONS * 2,
        )
    await node.tail.reach(MAX_POSITIONS * 2)
    diary = await started(node)
    await diary.has(MAX_POSITIONS * 2)
    assert [len(batch) for batch in diary.batches] == [MAX_POSITIONS, MAX_POSITIONS]
    assert diary.handled == [f"u{n}" for n in range(1, 2 * MAX_POSITIONS + 1)]


async def test_what_concerns_nobody_is_passed_over_without_a_step(node: StreamNode) -> None:
    diary = await started(node)
    await node.changes("a")
    await diary.has(1)
    await settle()
    steps = task_ends(node, "follower step")
    await node.changes("-b", "-c")
    await settle()
    assert task_ends(node, "follower step") == steps
    # The position goes into the table with the lease.
    assert await position(node) == 1
    await node.followers.renew()
    assert await position(node) == 3


async def test_a_change_behind_others_that_concern_nobody_is_handled(node: StreamNode) -> None:
    diary = await started(node)
    await node.changes("-a", "b", "-c", "d")
    await diary.has(2)
    assert diary.handled == ["b", "d"]


async def test_changes_that_the_tail_skips_are_handled(database_dsn: str, node: StreamNode) -> None:
    diary = await started(node)
    await node.changes("a")
    await diary.has(1)
    await settle()
    node.tail._max_gap = 1
    for name in ("b", "-c", "d"):
        await node.changes_silently(name)
    await node.tail.poll()
    await diary.has(3)
    assert diary.handled == ["a", "b", "d"]


async def test_of_two_nodes_one_handles(node: StreamNode, other: StreamNode) -> None:
    diary, idle = await started(node), await started(other)
    await node.changes("a", "b")
    await other.tail.poll()
    await other.followers.renew()
    await diary.has(2)
    await settle()
    assert (diary.handled, idle.handled) == (["a", "b"], [])
    assert await written(node) == ["a", "b"]


async def test_another_node_takes_over_when_the_lease_of_a_dead_one_runs_out(
    node: StreamNode, other: StreamNode, clock: FakeClock
) -> None:
    diary, heir = await started(node), await started(other)
    await node.changes("a")
    await diary.has(1)
    await node.tasks.stop()  # It dies: nothing is given up.
    last = await other.changes("b")
    clock.tick(LEASE_SECONDS - 1)
    await other.followers.renew()
    await settle()
    assert heir.handled == []
    clock.tick(1)
    await other.followers.renew()
    await heir.has(1)
    assert heir.handled == ["b"]
    assert await written(node) == ["a", "b"]
    assert await position(other) == last


async def test_renewals_keep_the_lease_while_the_node_lives(
    node: StreamNode, other: StreamNode, clock: FakeClock
) -> None:
    diary, idle = await started(node), await started(other)
    for _ in range(8):
        clock.tick(RENEW_SECONDS)
        await node.followers.renew()
        await other.followers.renew()
    await node.changes("a")
    await other.tail.poll()
    await diary.has(1)
    assert idle.handled == []


async def test_leases_are_renewed_by_themselves(node: StreamNode, clock: FakeClock) -> None:
    diary = await started(node)
    for number in range(1, 8):
        await clock.advance(RENEW_SECONDS)
        while task_ends(node, "follower lease renewal") < number:
            await node.reader.head()
    await node.changes("a")
    await diary.has(1)


async def test_a_stop_hands_the_follower_over_at_once(node: StreamNode, other: StreamNode) -> None:
    diary, heir = await started(node), await started(other)
    await node.changes("a")
    await diary.has(1)
    await node.followers.stop()
    await other.followers.renew()
    await other.changes("b")
    await heir.has(1)
    assert await written(node) == ["a", "b"]


async def test_a_stop_finishes_what_is_in_hand(node: StreamNode) -> None:
    diary = await started(node)
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Stretch) -> None:
        begun.set()
        await may_go_on.wait()

    diary.before = wait
    await node.changes("a")
    await begun.wait()
    stopping = asyncio.ensure_future(node.followers.stop())
    await settle()
    may_go_on.set()
    await stopping
    assert await written(node) == ["a"]
    await node.changes("b")
    await settle()
    assert diary.handled == ["a"]


async def test_a_failure_leaves_nothing_and_is_tried_again(
    node: StreamNode, clock: FakeClock
) -> None:
    diary = await started(node)
    tries: list[int] = []

    async def fail(_: Stretch) -> None:
        tries.append(clock.now_ms())
        if len(tries) < 4:
            raise RuntimeError("no")

    diary.before = fail
    with capture_logs() as logs:
        await node.changes("a")
        await eventually(lambda: is_written(node, 1), node, clock)
    assert [each["event"] for each in logs].count("task failed") == 3
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert [round(pause / 1000) for pause in pauses] == [1, 2, 4]


async def test_a_crash_between_the_effects_and_the_commit_undoes_the_effects(
    node: StreamNode, clock: FakeClock
) -> None:
    class Crashing(Diary):
        crashes = 0

        async def handle(self, stretch: Stretch) -> None:
            if self.crashes:
                return await super().handle(stretch)
            async with stretch.done() as tx:
                await tx.execute("INSERT INTO diary (user_id) VALUES ('half')")
                self.crashes += 1
                raise ConnectionResetError

    await make_table(node)
    diary = Crashing(node)
    node.followers.add("diary", diary)
    await node.followers.start()
    with capture_logs():
        await node.changes("a")
        await eventually(lambda: is_written(node, 1), node, clock)
    assert diary.crashes == 1
    assert await written(node) == ["a"]
    assert await position(node) == 1


async def test_after_a_failure_everything_up_to_the_bad_entry_is_handled(
    node: StreamNode, clock: FakeClock
) -> None:
    await node.changes("a", "b", "bad", "c")
    await make_table(node)
    diary = Diary(node)

    async def fail(stretch: Stretch) -> None:
        if any(isinstance(each, UserEntry) and each.user_id == "bad" for each in stretch.entries):
            raise RuntimeError("bad")

    diary.before = fail
    node.followers.add("diary", diary)
    with capture_logs():
        await node.followers.start()
        await eventually(lambda: is_written(node, 2), node, clock)
        assert diary.batches == [["a"], ["b"]]
        diary.before = None
        await eventually(lambda: is_written(node, 4), node, clock)
    assert await written(node) == ["a", "b", "bad", "c"]


async def test_who_has_lost_the_lease_has_no_effect(
    node: StreamNode, other: StreamNode, clock: FakeClock
) -> None:
    slow, heir = await started(node), await started(other)
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Stretch) -> None:
        begun.set()
        await may_go_on.wait()

    slow.before = wait
    await node.changes("a")
    await begun.wait()
    stops_renewing(node)
    clock.tick(LEASE_SECONDS)
    await other.followers.renew()
    await other.tail.poll()
    await heir.has(1)
    may_go_on.set()
    await settle()
    await node.followers.stop()
    assert slow.handled == []
    assert await written(node) == ["a"]


async def test_without_renewals_a_node_stops_working_by_itself(
    node: StreamNode, clock: FakeClock
) -> None:
    diary = await started(node)
    follower = node.followers._followers["diary"]
    assert follower.holds_lease
    stops_renewing(node)
    clock.tick(LEASE_SECONDS)
    assert not follower.holds_lease
    await node.changes("a")
    await settle()
    assert diary.handled == []


async def test_work_that_does_not_say_when_it_is_done_is_done_when_it_returns(
    node: StreamNode,
) -> None:
    class Calls:
        def __init__(self) -> None:
            self.handled = asyncio.Event()

        def concerns(self, entry: LogEntry) -> bool:
            return True

        async def handle(self, stretch: Stretch) -> None:
            assert stretch.entries
            self.handled.set()

    calls = Calls()
    node.followers.add("diary", calls)
    await node.followers.start()
    await node.changes("a")
    await calls.handled.wait()
    await node.followers.stop()
    assert await position(node) == 1


async def test_the_lag_is_measured_where_the_follower_works(
    node: StreamNode, other: StreamNode, clock: FakeClock
) -> None:
    def lag(of: StreamNode) -> float | None:
        labels = {"follower": "diary"}
        return of.metrics.registry.get_sample_value("homeserver_follower_lag_positions", labels)

    diary, _ = await started(node), await started(other)
    may_go_on = asyncio.Event()

    async def wait(_: Stretch) -> None:
        await may_go_on.wait()

    diary.before = wait
    await node.changes("a", "b", "c")
    await other.tail.poll()
    await other.tail.reach(3)
    await node.followers.renew()
    await other.followers.renew()
    assert (lag(node), lag(other)) == (3, 0)
    may_go_on.set()
    await diary.has(3)
    await settle()
    assert lag(node) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_nodes_that_come_and_go_handle_every_change_once(
    node: StreamNode, other: StreamNode, clock: FakeClock, seed: int
) -> None:
    """Each node stalls now and then, so that leases run out under its hands."""
    diaries = [await started(each) for each in (node, other)]
    turns = 0

    async def stall(_: Stretch) -> None:
        nonlocal turns
        turns += 1
        for _ in range((turns * (seed + 3)) % 7):
            await node.reader.head()

    for diary in diaries:
        diary.before = stall
    names = [f"u{n}" for n in range(60)]
    for number, name in enumerate(names):
        await (node, other)[number % 2].changes_silently(name)
        if number % 3 == seed % 3:
            clock.tick(LEASE_SECONDS)
            await (node, other)[(number + seed) % 2].followers.renew()
        if number % 4 == 0:
            await node.tail.poll()
            await other.tail.poll()
    await node.tail.poll()
    await other.tail.poll()
    await eventually(lambda: is_written(node, len(names)), node, clock)
    assert await written(node) == names
    assert await position(node) == len(names)
