"""The bus between nodes: what is heard, and that nothing depends on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from homeserver.streams.bus import Bus, LocalBus, RedisBus
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.streams.nodes import StreamNode, UserChanges, stream_node
from tests.support.clock import FakeClock
from tests.support.redis import RedisServer

CHANNEL = "homeserver:log"


class Ear:
    """Remembers the positions that a node hears of."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.messages: list[bytes] = []
        self._changed = asyncio.Event()

    def hear(self, position: int) -> None:
        self.positions.append(position)
        self._changed.set()

    async def hears(self, position: int) -> None:
        async with asyncio.timeout(60):
            while position not in self.positions:
                self._changed.clear()
                await self._changed.wait()


class RedisNode:
    """A bus with a clock of the test's, and an ear."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.tasks = Tasks(self.clock, Metrics())
        self.ear = Ear()
        self.bus = RedisBus(url, self.tasks, self.clock)

    async def close(self) -> None:
        await self.tasks.stop()
        await self.bus.stop()


@contextlib.asynccontextmanager
async def redis_node(url: str) -> AsyncIterator[RedisNode]:
    node = RedisNode(url)
    await node.bus.start(node.ear.hear, node.ear.messages.append)
    try:
        yield node
    finally:
        await node.close()


async def listening(url: str, count: int) -> None:
    """Wait until so many nodes have subscribed."""
    async with redis.asyncio.Redis.from_url(url) as client, asyncio.timeout(60):
        while dict(await client.pubsub_numsub(CHANNEL))[CHANNEL.encode()] < count:
            await client.ping()


async def eventually(condition: Callable[[], bool], url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client, asyncio.timeout(60):
        while not condition():
            await client.ping()


async def test_two_nodes_hear_each_other(redis_server: RedisServer) -> None:
    url = redis_server.url
    async with redis_node(url) as one, redis_node(url) as two:
        await listening(url, 2)
        one.bus.announce(7)
        await two.ear.hears(7)
        two.bus.announce(8)
        await one.ear.hears(8)


async def test_announcements_that_wait_are_merged_into_the_newest(
    redis_server: RedisServer,
) -> None:
    url = redis_server.url
    async with redis_node(url) as one, redis_node(url) as two:
        await listening(url, 2)
        for position in range(1, 1_001):
            one.bus.announce(position)
        await two.ear.hears(1_000)
        assert len(two.ear.positions) == 1
        one.bus.announce(1_001)
        await two.ear.hears(1_001)
        assert two.ear.positions == [1_000, 1_001]


async def test_an_older_position_is_not_announced_after_a_newer(redis_server: RedisServer) -> None:
    url = redis_server.url
    async with redis_node(url) as one, redis_node(url) as two:
        await listening(url, 2)
        one.bus.announce(5)
        one.bus.announce(3)
        await two.ear.hears(5)
        one.bus.announce(6)
        await two.ear.hears(6)
        assert two.ear.positions == [5, 6]


async def test_deployments_with_different_prefixes_do_not_hear_each_other(
    redis_server: RedisServer,
) -> None:
    async with redis_node(redis_server.url) as node:
        await listening(redis_server.url, 1)
        stranger = RedisBus(redis_server.url, node.tasks, node.clock, prefix="staging:")
        stranger.announce(9)
        await eventually(lambda: stranger._sending is None, redis_server.url)
        node.bus.announce(1)
        await node.ear.hears(1)
        assert node.ear.positions == [1]
        await stranger.stop()


@pytest.mark.parametrize("message", ["", "x", "-5", "1.5", "1" * 20, "\u0663", b"\xff\x00"])
async def test_what_no_node_says_is_not_heard(
    redis_server: RedisServer, message: str | bytes
) -> None:
    async with redis_node(redis_server.url) as node:
        await listening(redis_server.url, 1)
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            await client.publish(CHANNEL, message)
        node.bus.announce(3)
        await node.ear.hears(3)
        assert node.ear.positions == [3]


async def test_after_redis_was_stopped_and_started_nodes_hear_each_other_again(
    redis_server: RedisServer,
) -> None:
    url = redis_server.url
    async with redis_node(url) as one, redis_node(url) as two:
        await listening(url, 2)
        with capture_logs() as logs:
            redis_server.stop()
            for node in (one, two):
                await node.clock.sleeping()
            for position in range(1, 20):
                one.bus.announce(position)
                assert one.bus._sending is not None
                await asyncio.wait([one.bus._sending])
            for _ in range(5):
                two.clock.tick(1)
                await two.clock.sleeping()
        told = [each["event"] for each in logs if each["log_level"] == "warning"]
        assert sorted(told) == [
            "bus announcement failed",
            "bus connection lost",
            "bus connection lost",
        ]
        redis_server.start()
        for node in (one, two):
            node.clock.tick(1)
        await listening(url, 2)
        one.bus.announce(100)
        await two.ear.hears(100)
        two.bus.announce(101)
        await one.ear.hears(101)


async def test_a_node_starts_without_redis_and_listens_when_it_is_there(
    redis_server: RedisServer,
) -> None:
    redis_server.stop()
    with capture_logs():
        async with redis_node(redis_server.url) as node:
            await node.clock.sleeping()
            redis_server.start()
            node.clock.tick(1)
            await listening(redis_server.url, 1)
            node.bus.announce(4)
            await node.ear.hears(4)


async def test_a_stop_in_the_middle_of_everything_leaves_nothing_open(
    redis_server: RedisServer,
) -> None:
    async with redis_node(redis_server.url) as node:
        node.bus.announce(4)
    async with redis_node(redis_server.url) as node:
        await listening(redis_server.url, 1)
        node.bus.announce(5)


@contextlib.asynccontextmanager
async def node_on_redis(dsn: str, clock: FakeClock, url: str) -> AsyncIterator[StreamNode]:
    tasks = Tasks(clock, Metrics())
    bus = RedisBus(url, tasks, clock)
    async with stream_node(dsn, clock, bus=bus) as node:
        await bus.start(node.tail.heard, lambda message: None)
        try:
            yield node
        finally:
            await tasks.stop()
            await bus.stop()


async def test_a_commit_is_in_the_tail_of_the_other_node_without_a_poll(
    database_dsn: str, clock: FakeClock, redis_server: RedisServer
) -> None:
    url = redis_server.url
    async with (
        node_on_redis(database_dsn, clock, url) as one,
        node_on_redis(database_dsn, clock, url) as two,
    ):
        await listening(url, 2)
        heard = asyncio.Event()
        two.tail.follow(lambda entries: heard.set() if entries else None)
        await one.writer.append(UserChanges(), "u")
        async with asyncio.timeout(60):
            await heard.wait()
        assert two.tail.position == 1


class DroppingBus(LocalBus):
    """Loses every message."""


@pytest.mark.parametrize("bus", [DroppingBus])
async def test_when_every_message_is_lost_polls_bring_all_nodes_together(
    database_dsn: str, clock: FakeClock, bus: Callable[[], Bus]
) -> None:
    async with (
        stream_node(database_dsn, clock, bus=bus()) as one,
        stream_node(database_dsn, clock, bus=bus()) as two,
    ):
        for node in (one, two):
            node.tasks.every("tail poll", 1.0, node.tail.poll)
        for number in range(10):
            await (one, two)[number % 2].writer.append(UserChanges(), f"u{number}")
        for _ in range(1_000):
            if one.tail.position == two.tail.position == 10:
                break
            await clock.advance(1)
            await one.reader.head()
        assert one.tail.entries_after(0) == two.tail.entries_after(0)
        assert len(one.tail.entries_after(0)) == 10


async def test_a_lying_bus_costs_a_look_and_nothing_else(
    database_dsn: str, clock: FakeClock, redis_server: RedisServer
) -> None:
    url = redis_server.url
    async with node_on_redis(database_dsn, clock, url) as node:
        await listening(url, 1)
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.publish(CHANNEL, str(2**62))
        await node.writer.append(UserChanges(), "u")
        await eventually(lambda: node.tail._hint == node.tail.position, url)
        await node.writer.append(UserChanges(), "v")
        await node.tail.catch_up()
        assert [entry.pos for entry in node.tail.entries_after(0)] == [1, 2]
        assert node.tail.floor == 0


async def test_the_bus_of_a_single_node_says_and_hears_nothing() -> None:
    bus, ear = LocalBus(), Ear()
    await bus.start(ear.hear, ear.messages.append)
    bus.announce(1)
    bus.tell(b"x")
    await bus.stop()
    assert (ear.positions, ear.messages) == ([], [])
