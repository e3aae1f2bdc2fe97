"""The chat of two matrix-nio programs, each at its own node."""

import asyncio
from pathlib import Path
from typing import Any

from tests.clients.chat import ChatProgram, assert_nothing_is_lost, two_programs
from tests.nodes.conftest import StartNodes
from tests.nodes.deaf_redis import DeafRedis
from tests.nodes.front_door import FrontDoor
from tests.support.processes import server_processes
from tests.support.redis import RedisServer

MESSAGES = 100
NO_RATE_LIMITS = {"RATE_LIMITS_ENABLED": "false"}


async def half_way(program: ChatProgram) -> None:
    await asyncio.to_thread(program.wait_for_messages, MESSAGES // 2)


async def ends(alice: ChatProgram, bob: ChatProgram) -> tuple[dict[str, Any], dict[str, Any]]:
    seen_by_alice = await asyncio.to_thread(alice.wait_for_end)
    return seen_by_alice, await asyncio.to_thread(bob.wait_for_end)


async def test_users_of_two_nodes_chat(start_nodes: StartNodes, redis_server: RedisServer) -> None:
    first, second = await start_nodes(redis_server.url)
    with two_programs(first.url, second.url, MESSAGES) as (alice, bob):
        assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)


async def test_losing_every_redis_message_loses_nothing(
    start_nodes: StartNodes, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with DeafRedis(redis_server.url, tmp_path) as deaf:
        first, second = await start_nodes(deaf.url)
        with two_programs(first.url, second.url, MESSAGES) as (alice, bob):
            assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)
    assert deaf.swallowed > 0


async def test_chat_goes_on_while_redis_is_away_and_when_it_is_back(
    start_nodes: StartNodes, redis_server: RedisServer
) -> None:
    first, second = await start_nodes(redis_server.url)
    with two_programs(first.url, second.url, MESSAGES) as (alice, bob):
        await asyncio.to_thread(alice.wait_for_messages, MESSAGES // 3)
        redis_server.stop()
        await asyncio.to_thread(alice.wait_for_messages, 2 * MESSAGES // 3)
        redis_server.start()
        assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)


async def test_users_of_a_killed_node_go_on_at_the_other(
    start_nodes: StartNodes, redis_server: RedisServer
) -> None:
    first, second = await start_nodes(redis_server.url)
    async with FrontDoor(second.port) as door:
        with two_programs(first.url, door.url, MESSAGES) as (alice, bob):
            await half_way(bob)
            second.kill()
            door.lead_to(first.port)
            assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)


async def test_killed_node_comes_back_into_a_running_chat(
    start_nodes: StartNodes, redis_server: RedisServer
) -> None:
    first, second = await start_nodes(redis_server.url)
    with two_programs(first.url, second.url, MESSAGES) as (alice, bob):
        await half_way(bob)
        second.kill()
        await asyncio.to_thread(second.start)
        assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)


async def test_nodes_share_an_embedded_database_and_its_starter_is_killed(tmp_path: Path) -> None:
    with server_processes() as make:
        # Without Redis: the poll alone tells a node of the other's messages.
        first, second = (make(tmp_path / "data", NO_RATE_LIMITS) for _ in range(2))
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start)
        async with FrontDoor(first.port) as door:
            with two_programs(door.url, second.url, MESSAGES) as (alice, bob):
                await half_way(alice)
                first.kill()
                door.lead_to(second.port)
                assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)


async def test_nodes_share_an_embedded_database_that_is_killed(tmp_path: Path) -> None:
    with server_processes() as make:
        first, second = (make(tmp_path / "data", NO_RATE_LIMITS) for _ in range(2))
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start)
        with two_programs(first.url, second.url, MESSAGES) as (alice, bob):
            await half_way(alice)
            first.kill_postgres()
            assert_nothing_is_lost(*await ends(alice, bob), MESSAGES)
