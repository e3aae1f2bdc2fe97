"""Messages between nodes over a real Redis: they arrive, or they are lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from homeserver.streams.bus import LocalBus, RedisBus
from homeserver.telemetry.clock import SystemClock
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.support.redis import RedisServer

CHANNEL = "homeserver:messages"


class Ears:
    """A bus and what is heard on it."""

    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.positions: asyncio.Queue[int] = asyncio.Queue()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def next_messages(self, count: int) -> list[bytes]:
        return [await asyncio.wait_for(self.messages.get(), 60) for _ in range(count)]


@pytest.fixture
async def ears(redis_server: RedisServer) -> AsyncIterator[list[Ears]]:
    """Two nodes that listen."""
    clock = SystemClock()
    tasks = Tasks(clock, Metrics())
    both = [Ears(RedisBus(redis_server.url, tasks, clock)) for _ in range(2)]
    for each in both:
        await each.bus.start(each.positions.put_nowait, each.messages.put_nowait)
    await _all_listen(redis_server, len(both))
    yield both
    await tasks.stop()
    for each in both:
        await each.bus.stop()


async def _all_listen(server: RedisServer, count: int) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        while (await client.pubsub_numsub(CHANNEL))[0][1] < count:
            pass


async def test_messages_arrive_everywhere_in_their_order(ears: list[Ears]) -> None:
    here, there = ears
    sent = [b"%d" % number for number in range(50)]
    for number, message in enumerate(sent):
        here.bus.tell(message)
        if number % 10 == 0:
            here.bus.announce(number + 1)
    assert await there.next_messages(50) == sent
    assert await here.next_messages(50) == sent


async def test_announcements_and_messages_are_told_apart(ears: list[Ears]) -> None:
    here, there = ears
    here.bus.announce(7)
    here.bus.tell(b"8")
    assert await asyncio.wait_for(there.positions.get(), 60) == 7
    assert await there.next_messages(1) == [b"8"]
    assert there.positions.empty()


async def test_of_too_many_messages_at_once_the_oldest_are_lost(ears: list[Ears]) -> None:
    here, there = ears
    for number in range(1_500):
        here.bus.tell(b"%d" % number)
    assert await there.next_messages(1_000) == [b"%d" % number for number in range(500, 1_500)]
    assert there.messages.empty()


async def test_what_is_told_while_redis_is_away_is_lost_and_later_messages_are_not(
    ears: list[Ears], redis_server: RedisServer
) -> None:
    here, there = ears
    redis_server.stop()
    here.bus.tell(b"into the void")
    assert here.bus._sending is not None
    await asyncio.wait([here.bus._sending])
    redis_server.start()
    # A connection that is lost is tried again after a while.
    heard: list[bytes] = []
    while not heard:
        here.bus.tell(b"heard again")
        with contextlib.suppress(TimeoutError):
            heard = [await asyncio.wait_for(there.messages.get(), 0.1)]
    assert heard == [b"heard again"]


async def test_a_node_alone_has_nobody_to_tell() -> None:
    bus = LocalBus()
    told: list[bytes] = []
    await bus.start(lambda _: None, told.append)
    bus.tell(b"hello?")
    assert told == []
