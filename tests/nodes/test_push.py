"""Notifications of a server with two nodes, one of which may die."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, clients_of
from tests.support.processes import ServerProcess, server_processes
from tests.support.push_gateway import PushGateway, push_gateway
from tests.support.redis import RedisServer

# After a death a lease and a claim have to run out, and the pause of a pusher, which is about as
# long as the gateway has been down.
PATIENCE_SECONDS = 120


class TwoNodes(NamedTuple):
    nodes: tuple[ServerProcess, ServerProcess]
    # Alice, on each of them.
    alices: tuple[Client, Client]
    room: str
    gateway: PushGateway

    async def sends(self, count: int, nodes: tuple[int, ...] = (0, 1)) -> list[str]:
        texts = [f"message {number}" for number in range(count)]
        for number, text in enumerate(texts):
            await self.alices[nodes[number % len(nodes)]].sends(
                self.room, text, txn_id=f"{id(texts)} {number}"
            )
        return texts

    async def told(self, count: int) -> list[str]:
        """Return the texts of the next notifications."""
        told = [await self.gateway.next_within(PATIENCE_SECONDS) for _ in range(count)]
        return [each["content"]["body"] for each in told]


@pytest.fixture
async def pushed(
    database_dsn: str, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[TwoNodes]:
    """Bob, who is notified of what Alice says, on whichever node."""
    settings = {
        "DATABASE_DSN": database_dsn,
        "REDIS_URL": redis_server.url,
        "RATE_LIMITS_ENABLED": "false",
        "PASSWORDS_BCRYPT_COST": "4",
        "OUTGOING_HTTP_ALLOWED_IP_RANGES": '["127.0.0.0/8"]',
        "OUTGOING_HTTP_VERIFY_TLS": "false",
    }
    with ExitStack() as processes:
        make = processes.enter_context(server_processes())
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(push_gateway(Authority(tmp_path)))
            nodes = make(tmp_path / "data", settings), make(tmp_path / "data", settings)
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
            makers = [await stack.enter_async_context(clients_of(node.url)) for node in nodes]
            alice, there = makers[0].nobody(), makers[1].nobody()
            await alice.registers("alice")
            there.user_id, there.access_token = alice.user_id, alice.access_token
            bob = makers[0].nobody()
            await bob.registers("bob")
            room = await alice.creates_room(preset="public_chat")
            await bob.joins(room)
            await bob.post("pushers/set", gateway.pusher())
            yield TwoNodes(nodes, (alice, there), room, gateway)
            await asyncio.to_thread(processes.close)


async def test_messages_of_both_nodes_are_told_once_and_in_order(pushed: TwoNodes) -> None:
    texts = await pushed.sends(30)
    assert await pushed.told(30) == texts
    assert pushed.gateway.attempts == 30


async def test_what_a_node_leaves_behind_the_other_one_sends(pushed: TwoNodes) -> None:
    """The gateway is down while a node dies, and the other one goes on where it was."""
    pushed.gateway.is_down = True
    before = await pushed.sends(5)
    await pushed.gateway.tried()
    pushed.nodes[0].kill()
    after = await pushed.sends(5, nodes=(1,))
    pushed.gateway.is_down = False
    assert await pushed.told(10) == before + after


async def test_all_nodes_stop_and_start_and_everything_is_told(pushed: TwoNodes) -> None:
    pushed.gateway.is_down = True
    texts = await pushed.sends(5)
    await pushed.gateway.tried()
    for node in pushed.nodes:
        assert await asyncio.to_thread(node.stop) == 0
    pushed.gateway.is_down = False
    await asyncio.to_thread(pushed.nodes[1].start)
    assert await pushed.told(5) == texts
