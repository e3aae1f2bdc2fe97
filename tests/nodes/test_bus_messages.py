"""What nodes tell each other besides the log: who is typing, and what limits are used up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis.asyncio

from tests.support.client import Client, Refusal, clients_of, quoted
from tests.support.processes import server_processes
from tests.support.redis import RedisServer

# The default of `rate_limits.groups.login`, refilled once in two seconds.
LOGINS_AT_ONCE = 20
PATIENCE_SECONDS = 60


@pytest.fixture
async def nodes(
    database_dsn: str, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[tuple[Client, Client]]:
    """A user's client at each of two nodes, which limit rates."""
    settings = {"DATABASE_DSN": database_dsn, "REDIS_URL": redis_server.url}
    async with AsyncExitStack() as stack:
        make = stack.enter_context(server_processes())
        both = [make(tmp_path / "data", settings) for _ in range(2)]
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in both))
        here, there = [
            (await stack.enter_async_context(clients_of(node.url))).nobody() for node in both
        ]
        await here.registers("alice")
        there.user_id, there.access_token = here.user_id, here.access_token
        yield here, there


async def logins_until_refused(client: Client) -> int:
    for count in range(10 * LOGINS_AT_ONCE):
        try:
            await client.post("login", {"type": "org.example.none"})
        except Refusal as refusal:
            if refusal.status == 429:
                return count
    raise AssertionError("it was never refused")


async def heard_on(bus: redis.asyncio.client.PubSub, count: int) -> None:
    """Wait until all nodes have been told of so many logins."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for message in bus.listen():
            if message["type"] == "message" and b'["login",' in message["data"]:
                count -= int(
                    message["data"].split(b'["login",', 1)[1].split(b"]")[0].split(b",")[1]
                )
            if count <= 0:
                return


async def test_nodes_tell_each_other(
    nodes: tuple[Client, Client], redis_server: RedisServer
) -> None:
    here, there = nodes
    async with (
        redis.asyncio.Redis.from_url(redis_server.url) as client,
        client.pubsub() as bus,
    ):
        await bus.subscribe("homeserver:messages")
        allowed = await logins_until_refused(here)
        assert allowed >= LOGINS_AT_ONCE
        await heard_on(bus, allowed)
    # What has been refilled meanwhile, not another burst.
    assert await logins_until_refused(there) < LOGINS_AT_ONCE

    room = await here.creates_room()
    path = f"rooms/{quoted(room)}/typing/{quoted(there.user_id)}"
    await there.put(path, {"typing": True, "timeout": 30_000})
    since = None
    typing: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not typing:
            answer = await here.syncs(since)
            since = answer["next_batch"]
            joined = answer.get("rooms", {}).get("join", {}).get(room, {})
            for event in joined.get("ephemeral", {}).get("events", []):
                typing = event["content"]["user_ids"]
    assert typing == [there.user_id]
