"""The law of /sync: an initial sync and increments tell the same as a fresh initial sync."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from homeserver.web.requester import Requester
from tests.laws.random_history import History
from tests.laws.sync_model import ClientModel, known_facts, visible
from tests.support.node import Node, running_node, user

ROUNDS = 25
ACTIONS = 8


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("state_after", [False, True], ids=["state", "state_after"])
@pytest.mark.parametrize("node_count", [1, 2])
async def test_initial_sync_and_increments_are_a_fresh_initial_sync(
    database_dsn: str, tmp_path: Path, seed: int, *, state_after: bool, node_count: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        history = History(nodes, users, seed)
        clients = {each.user_id: ClientModel(state_after=state_after) for each in users}
        for round_ in range(ROUNDS):
            for _ in range((seed + round_) % ACTIONS + 1):
                await history.act()
            await all_nodes_reach_the_head(nodes)
            for number, each in enumerate(users):
                # Some clients come back seldom, so that their timelines have gaps.
                if (round_ + number) % (number + 1) == 0:
                    await _check(nodes[round_ % node_count], each, clients[each.user_id])


async def all_nodes_reach_the_head(nodes: list[Node]) -> None:
    """Wait until every node knows what has been written through any."""
    head = await nodes[0].base.reader.head()
    await asyncio.gather(*(node.base.tail.reach(head) for node in nodes))


async def _check(node: Node, who: Requester, client: ClientModel) -> None:
    state_key = "state_after" if client.state_after else "state"
    client.take(await node.syncs(who, client.since, state_key=state_key))
    fresh = ClientModel(state_after=client.state_after)
    fresh.take(await node.syncs(who, state_key=state_key))
    assert known_facts(client) == known_facts(fresh)
    for room_id, section in fresh.sections.items():
        if section == "join":
            shown = visible(fresh.timelines[room_id])
            kept = visible(client.timelines[room_id])
            overlap = min(len(shown), len(kept))
            assert kept[len(kept) - overlap :] == shown[len(shown) - overlap :]
