"""One account that uses two nodes: neither node is its home."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.nodes.conftest import StartNodes
from tests.nodes.deaf_redis import DeafRedis
from tests.support.client import Client, Refusal, clients_of
from tests.support.redis import RedisServer

# The poll behind the bus comes every second; the rest is for a busy machine.
PATIENCE_SECONDS = 60


class TwoNodes(NamedTuple):
    here: Client
    there: Client


@pytest.fixture(params=["heard", "deaf"])
async def alice(
    start_nodes: StartNodes,
    redis_server: RedisServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[TwoNodes]:
    """An account whose token is known to both nodes, with Redis as it should be and deaf."""
    async with AsyncExitStack() as stack:
        redis_url = redis_server.url
        if request.param == "deaf":
            deaf = await stack.enter_async_context(DeafRedis(redis_server.url, tmp_path))
            redis_url = deaf.url
        urls = [node.url for node in await start_nodes(redis_url)]
        here, there = [(await stack.enter_async_context(clients_of(u))).nobody() for u in urls]
        await here.registers("alice")
        there.user_id, there.access_token = here.user_id, here.access_token
        assert await there.joined_rooms() == []
        yield TwoNodes(here, there)


async def soon(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await look():
            pass


async def refuses(client: Client) -> bool:
    try:
        await client.get("account/whoami")
    except Refusal as refusal:
        return (refusal.status, refusal.errcode) == (401, "M_UNKNOWN_TOKEN")
    return False


async def test_logout_here_ends_the_session_there(alice: TwoNodes) -> None:
    await alice.here.post("logout")
    await soon(lambda: refuses(alice.there))


async def test_waiting_sync_there_tells_of_a_room_made_here(alice: TwoNodes) -> None:
    since = (await alice.there.syncs())["next_batch"]
    waiting = asyncio.create_task(alice.there.syncs(since, timeout=30_000))
    room = await alice.here.creates_room(name="New")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert list((await waiting)["rooms"]["join"]) == [room]


async def test_room_made_here_can_be_used_there_at_once(alice: TwoNodes) -> None:
    room = await alice.here.creates_room()
    event_id = await alice.there.sends(room, "hello")
    assert (await alice.there.reads_event(room, event_id))["content"]["body"] == "hello"


async def test_token_of_here_is_good_there_at_once(alice: TwoNodes) -> None:
    room = await alice.here.creates_room()
    since = (await alice.here.syncs())["next_batch"]
    event_id = await alice.here.sends(room, "hello")
    later = await alice.here.syncs(since)
    answer: dict[str, Any] = await alice.there.syncs(since, timeout=30_000)
    assert [e["event_id"] for e in answer["rooms"]["join"][room]["timeline"]["events"]] == [
        event_id
    ]
    assert "rooms" not in await alice.there.syncs(later["next_batch"])


async def test_state_set_here_is_read_there(alice: TwoNodes) -> None:
    room = await alice.here.creates_room()
    await alice.here.sets(room, "m.room.topic", {"topic": "one"})
    await alice.there.sets(room, "m.room.topic", {"topic": "two"})

    async def is_two() -> bool:
        return (await alice.here.reads_state(room, "m.room.topic"))["topic"] == "two"

    await soon(is_two)
