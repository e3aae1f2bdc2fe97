"""Servers that failed are left alone, over restarts and on every node."""

import pytest

from federation.transport.destinations import Destinations
from homeserver.protocol.identifiers import ServerName
from homeserver.storage.database import Database
from tests.support.clock import FakeClock

A, B = ServerName("a.example"), ServerName("b.example")


@pytest.fixture
def destinations(database: Database, clock: FakeClock) -> Destinations:
    return Destinations(database, clock)


async def fails(destinations: Destinations, clock: FakeClock, times: int = 1) -> None:
    for _ in range(times):
        clock.tick(1)
        await destinations.failed(A, started_ts=clock.now_ms())


async def test_server_is_left_alone_for_longer_and_longer(
    destinations: Destinations, clock: FakeClock
) -> None:
    assert not await destinations.is_backing_off(A)
    waits = []
    for _ in range(20):
        await fails(destinations, clock)
        retry_ts = await destinations.retry_ts(A)
        assert retry_ts is not None
        waits.append((retry_ts - clock.now_ms()) / 1000)
    assert 0 < waits[0] <= 1
    assert 256 <= waits[9] <= 512
    assert 12 * 3600 <= waits[19] <= 24 * 3600
    assert await destinations.is_backing_off(A)
    assert not await destinations.is_backing_off(B)


async def test_request_that_began_before_the_last_failure_does_not_count(
    destinations: Destinations, clock: FakeClock
) -> None:
    started_ts = clock.now_ms()
    clock.tick(5)
    await destinations.failed(A, started_ts=started_ts)
    retry_ts = await destinations.retry_ts(A)
    clock.tick(5)
    await destinations.failed(A, started_ts=started_ts)
    assert await destinations.retry_ts(A) == retry_ts


async def test_answer_ends_it(destinations: Destinations, clock: FakeClock) -> None:
    await fails(destinations, clock, times=5)
    assert await destinations.failing_since_ts(A) == clock.now_ms() - 4000
    await destinations.succeeded(A)
    assert await destinations.retry_ts(A) is None
    await fails(destinations, clock)
    retry_ts = await destinations.retry_ts(A)
    assert retry_ts is not None
    assert retry_ts <= clock.now_ms() + 1000


async def test_restart_forgets_nothing(
    destinations: Destinations, database: Database, clock: FakeClock
) -> None:
    await fails(destinations, clock, times=5)
    again = Destinations(database, clock)
    await again.load([A, B])
    assert await again.retry_ts(A) == await destinations.retry_ts(A)
    assert await again.retry_ts(B) is None


async def test_other_node_learns_within_a_minute(
    destinations: Destinations, database: Database, clock: FakeClock
) -> None:
    other = Destinations(database, clock)
    assert not await other.is_backing_off(A)
    await fails(destinations, clock, times=12)
    clock.tick(61)
    assert await other.is_backing_off(A)
    await destinations.succeeded(A)
    clock.tick(61)
    assert not await other.is_backing_off(A)


async def test_silent_server_that_speaks_wakes_who_waits_for_it(
    destinations: Destinations, clock: FakeClock
) -> None:
    woken: list[ServerName] = []
    destinations.on_wake(woken.append)
    await destinations.spoke(A)
    await fails(destinations, clock, times=12)
    clock.tick(61)
    await destinations.spoke(A)
    assert woken == [A]
    assert not await destinations.is_backing_off(A)


async def test_server_that_speaks_but_cannot_be_reached_is_not_tried_each_time(
    destinations: Destinations, clock: FakeClock
) -> None:
    woken: list[ServerName] = []
    destinations.on_wake(woken.append)
    await fails(destinations, clock, times=12)
    for _ in range(120):
        clock.tick(1)
        await destinations.spoke(A)
        if not await destinations.is_backing_off(A):
            await destinations.failed(A, started_ts=clock.now_ms())
    assert len(woken) == 2


async def test_server_says_how_long_it_wants_to_be_left_alone(
    destinations: Destinations, clock: FakeClock
) -> None:
    await destinations.failed(A, started_ts=clock.now_ms(), retry_after_ms=90_000)
    assert await destinations.retry_ts(A) == clock.now_ms() + 90_000
