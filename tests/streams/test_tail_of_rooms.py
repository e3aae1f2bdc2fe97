"""What the tail makes of its own commits and hears of others is what PostgreSQL holds."""

import contextlib
from pathlib import Path

import pytest

from homeserver.streams.entries import EventEntry
from tests.laws.random_history import History
from tests.streams.log_model import told, without_replaced
from tests.support.node import Node, running_node, user

ACTIONS = 120


async def assert_tail_is_the_log(node: Node) -> None:
    tail, reader = node.base.tail, node.base.reader
    await tail.reach(await reader.head())
    kept = without_replaced(tail.entries_after(tail.floor))
    there = await reader.read(tail.floor, tail.position)
    assert [told(entry) for entry in kept] == [told(entry) for entry in there]
    # Whoever comes to know the node later gets the same from the one as from the other.
    heads = [entry.client_head for entry in kept if isinstance(entry, EventEntry)]
    assert heads == [entry.client_head for entry in there if isinstance(entry, EventEntry)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("node_count", [1, 3])
async def test_the_tail_is_the_log_after_a_random_history(
    database_dsn: str, tmp_path: Path, seed: int, node_count: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        history = History(nodes, users, seed)
        for number in range(ACTIONS):
            await history.act()
            if number % 40 == 0:
                await assert_tail_is_the_log(nodes[number // 40 % node_count])
        for node in nodes:
            await assert_tail_is_the_log(node)
