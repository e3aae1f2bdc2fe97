"""Followers are spread over the live nodes, and move only when nodes come and go."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from typing import Any

import pytest

from homeserver.storage.database import Connection, Database
from homeserver.streams.entries import LogEntry, UserEntry
from homeserver.streams.follower import Stretch
from homeserver.streams.followers import RENEW_SECONDS
from homeserver.streams.leases import KEEP_SECONDS, LEASE_SECONDS, MAX_HANDOVERS
from homeserver.telemetry.clock import SystemClock
from tests.streams.nodes import StreamNode, stream_node
from tests.support.clock import FakeClock

WORKS = [f"work {number}" for number in range(30)]


def belongs_to(name: str, *node_ids: str) -> str:
    """Return the node of the highest hash."""
    return max(node_ids, key=lambda node_id: sha256(f"{node_id} {name}".encode()).digest())


class Notes:
    """Notes each change down, with the follower's name; waits while it is held up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.has_begun = asyncio.Event()

    def concerns(self, entry: LogEntry) -> bool:
        return isinstance(entry, UserEntry)

    async def handle(self, stretch: Stretch) -> None:
        self.has_begun.set()
        await self.may_go_on.wait()
        async with stretch.done() as tx:
            await tx.executemany(
                "INSERT INTO notes (name, user_id) VALUES ($1, $2)",
                [(self.name, e.user_id) for e in stretch.entries if isinstance(e, UserEntry)],
            )


class Nodes:
    """Nodes over one database, by name; only the test renews their leases."""

    def __init__(self, dsn: str, clock: FakeClock, stack: contextlib.AsyncExitStack) -> None:
        self._dsn = dsn
        self._clock = clock
        self._stack = stack
        self._nodes: dict[str, StreamNode] = {}
        self.notes: dict[tuple[str, str], Notes] = {}

    async def starts(self, name: str, works: list[str] = WORKS) -> StreamNode:
        node = await self._stack.enter_async_context(stream_node(self._dsn, self._clock, name))
        async with node.database.connection() as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS notes "
                "(n bigint GENERATED ALWAYS AS IDENTITY, name text, user_id text)"
            )
        for work in works:
            notes = self.notes[name, work] = Notes(work)
            node.followers.add(work, notes)
        await node.followers.start()
        assert node.followers._renewing is not None
        node.followers._renewing.cancel()
        self._nodes[name] = node
        return node

    async def dies(self, name: str) -> None:
        """End a node without a word."""
        node = self._nodes.pop(name)
        await node.tasks.stop()

    async def stops(self, name: str) -> None:
        await self._nodes.pop(name).followers.stop()

    async def renew(self, rounds: int = 1) -> None:
        """Let a renewal's time pass, and have all renew, one after the other."""
        for _ in range(rounds):
            self._clock.tick(RENEW_SECONDS)
            for node in self._nodes.values():
                await node.followers.renew()
                await self.handovers()

    async def handovers(self) -> None:
        """Let what is handed over get into the database, unless work is held up."""
        running = [
            task
            for node in self._nodes.values()
            for task in node.tasks._running
            if task.get_name() == "follower handover"
        ]
        if running and all(notes.may_go_on.is_set() for notes in self.notes.values()):
            await asyncio.wait(running)

    def at_work(self) -> dict[str, str]:
        """Return by follower the node that takes itself for the one to work; never two."""
        found: dict[str, str] = {}
        for name, node in self._nodes.items():
            for work, follower in node.followers._followers.items():
                if follower.holds_lease:
                    assert work not in found
                    found[work] = name
        return found


@pytest.fixture
async def nodes(database_dsn: str, clock: FakeClock) -> AsyncIterator[Nodes]:
    async with contextlib.AsyncExitStack() as stack:
        yield Nodes(database_dsn, clock, stack)


def shares(*node_ids: str) -> dict[str, str]:
    return {work: belongs_to(work, *node_ids) for work in WORKS}


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {work for work in WORKS if before.get(work) != after.get(work)}


async def reaches(node: StreamNode, follower: str, position: int) -> None:
    for _ in range(1_000):
        if node.followers._followers[follower].position >= position:
            return
        await node.reader.head()
    raise AssertionError("it does not get there")


class Counting:
    """A connection that says when it is asked for anything."""

    def __init__(self, connection: Connection, count: Callable[[], None]) -> None:
        self._connection = connection
        self._count = count

    def __getattr__(self, name: str) -> Any:
        self._count()
        return getattr(self._connection, name)


async def test_one_node_does_everything(nodes: Nodes) -> None:
    await nodes.starts("left")
    assert nodes.at_work() == shares("left")


async def test_every_node_gets_its_share(nodes: Nodes) -> None:
    for name in ("left", "right", "third"):
        await nodes.starts(name)
    await nodes.renew(8)
    spread = nodes.at_work()
    assert spread == shares("left", "right", "third")
    assert all(list(spread.values()).count(name) >= 9 for name in ("left", "right", "third"))


async def test_what_belongs_to_a_node_that_comes_moves_a_few_at_a_time(nodes: Nodes) -> None:
    await nodes.starts("left")
    await nodes.starts("right")
    await nodes.renew(2)
    counts = [len(moved(shares("left"), nodes.at_work()))]
    while counts[-1] < 16:
        await nodes.renew()
        counts.append(len(moved(shares("left"), nodes.at_work())))
    assert nodes.at_work() == shares("left", "right")
    assert counts[0] > 0
    # What one renewal gave up is taken by the other node's next.
    assert all(0 < b - a <= MAX_HANDOVERS for a, b in itertools.pairwise(counts))


async def test_once_spread_nothing_moves(nodes: Nodes) -> None:
    await nodes.starts("left")
    await nodes.starts("right")
    await nodes.renew(8)
    for _ in range(round(2 * KEEP_SECONDS / RENEW_SECONDS)):
        await nodes.renew()
        assert nodes.at_work() == shares("left", "right")


async def test_the_share_of_a_dead_node_is_divided_and_nothing_else_moves(
    nodes: Nodes, clock: FakeClock
) -> None:
    for name in ("left", "right", "third"):
        await nodes.starts(name)
    await nodes.renew(8)
    await nodes.dies("right")
    rounds = int(LEASE_SECONDS // RENEW_SECONDS) + 1
    for _ in range(rounds):
        await nodes.renew()
        kept = {w: n for w, n in shares("left", "right", "third").items() if n != "right"}
        assert kept.items() <= nodes.at_work().items()
    assert nodes.at_work() == shares("left", "third")


async def test_the_share_of_a_node_that_stops_is_taken_with_the_next_renewals(
    nodes: Nodes,
) -> None:
    for name in ("left", "right", "third"):
        await nodes.starts(name)
    await nodes.renew(8)
    await nodes.stops("right")
    await nodes.renew()
    assert nodes.at_work() == shares("left", "third")


async def test_a_node_that_comes_back_gets_its_share_again(nodes: Nodes) -> None:
    await nodes.starts("left")
    await nodes.starts("right")
    await nodes.renew(8)
    await nodes.stops("right")
    await nodes.renew()
    assert nodes.at_work() == shares("left")
    await nodes.starts("right again")
    await nodes.renew(round(KEEP_SECONDS / RENEW_SECONDS) + 8)
    assert nodes.at_work() == shares("left", "right again")


async def test_a_node_gets_nothing_that_it_cannot_run(nodes: Nodes) -> None:
    await nodes.starts("left")
    can = WORKS[:10]
    await nodes.starts("right", can)
    await nodes.renew(8)
    expected = {**shares("left"), **{work: shares("left", "right")[work] for work in can}}
    assert nodes.at_work() == expected


async def test_what_is_in_hand_is_finished_before_the_handover(nodes: Nodes) -> None:
    # "diary" belongs to "right", once there is one.
    left = await nodes.starts("left", ["diary"])
    notes = nodes.notes["left", "diary"]
    notes.may_go_on.clear()
    await left.changes("a")
    await notes.has_begun.wait()
    await nodes.starts("right", ["diary"])
    await nodes.renew(10)
    # However long it takes, the lease is renewed.
    assert nodes.at_work() == {"diary": "left"}
    last = await left.changes("b")
    notes.may_go_on.set()
    await nodes.handovers()
    await nodes.renew(2)
    assert nodes.at_work() == {"diary": "right"}
    right = nodes._nodes["right"]
    await right.tail.poll()
    await reaches(right, "diary", last)
    async with right.database.connection() as connection:
        rows = await connection.fetch("SELECT user_id FROM notes ORDER BY n")
    assert [row[0] for row in rows] == ["a", "b"]
    assert left.followers._followers["diary"].position == 1


async def test_a_follower_that_is_not_taken_comes_back_and_stays(
    nodes: Nodes, clock: FakeClock
) -> None:
    """As from a node that dies as soon as it has started, again and again."""
    left = await nodes.starts("left", ["diary"])
    handovers = 0
    held_before = True
    for number in range(40):
        clock.tick(RENEW_SECONDS)
        async with Database(nodes._dsn, clock=SystemClock()) as database:
            # It says that it lives, and that is all.
            await says_it_lives(database, clock, f"right {number}")
        await left.followers.renew()
        await nodes.handovers()
        holds = "diary" in nodes.at_work()
        handovers += held_before and not holds
        held_before = holds
    assert 1 <= handovers <= 40 * RENEW_SECONDS / KEEP_SECONDS + 1


async def says_it_lives(database: Database, clock: FakeClock, prefix: str) -> None:
    node_id = next(
        f"{prefix} {number}"
        for number in range(1_000)
        if belongs_to("diary", "left", f"{prefix} {number}") != "left"
    )
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO follower_nodes VALUES ($1, 'followers', '{diary}', $2)",
            node_id,
            clock.now_ms() + round(LEASE_SECONDS * 1000),
        )


async def test_a_failed_handover_leaves_the_work_where_it_is(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ConnectionResetError

    left = await nodes.starts("left", ["diary"])
    monkeypatch.setattr(left.followers._leases, "release", fail)
    await nodes.starts("right", ["diary"])
    await nodes.renew(2)
    assert nodes.at_work() == {"diary": "left"}
    last = await left.changes("a")
    await reaches(left, "diary", last)


async def test_a_renewal_is_one_statement(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    left = await nodes.starts("left")
    await nodes.starts("right")
    await nodes.renew(8)
    asked: list[str] = []
    connection_of = left.database.connection

    @contextlib.asynccontextmanager
    async def counted(operation: str = "other") -> AsyncIterator[Counting]:
        async with connection_of(operation) as connection:
            yield Counting(connection, lambda: asked.append(operation))

    monkeypatch.setattr(left.database, "connection", counted)
    await nodes.renew(3)
    assert asked == ["followers"] * 3


@pytest.mark.parametrize("seed", range(4))
async def test_every_follower_handles_every_change_once_while_nodes_come_and_go(
    nodes: Nodes, clock: FakeClock, database_dsn: str, seed: int
) -> None:
    chance = random.Random(seed)
    works = WORKS[:6]
    names: list[str] = []
    watching = await nodes.starts("left", works)
    living = ["left"]
    for number in range(40):
        names.append(f"u{number}")
        await nodes._nodes[chance.choice(living)].changes_silently(names[-1])
        for node in nodes._nodes.values():
            if chance.random() < 0.5:
                await node.tail.poll()
        what = chance.random()
        if what < 0.15 and len(living) < 4:
            living.append(f"node {number}")
            await nodes.starts(living[-1], works)
        elif what < 0.3 and len(living) > 1:
            leaving = living.pop(chance.randrange(1, len(living)))
            await (nodes.dies if what < 0.22 else nodes.stops)(leaving)
        elif what < 0.8:
            clock.tick(chance.choice((0.5, RENEW_SECONDS, LEASE_SECONDS)))
            await nodes._nodes[chance.choice(living)].followers.renew()
    for _ in range(60):
        await nodes.renew()
        for node in nodes._nodes.values():
            await node.tail.poll()
        async with watching.database.connection() as connection:
            if await connection.fetchval("SELECT count(*) FROM notes") >= len(works) * len(names):
                break
    async with watching.database.connection() as connection:
        for work in works:
            rows = await connection.fetch(
                "SELECT user_id FROM notes WHERE name = $1 ORDER BY n", work
            )
            assert [row[0] for row in rows] == names
