"""The law of unread counts: what /sync tells is what somebody would count event by event.

After sending, redacting, reading of rooms and of threads, leaving and coming back; on several
nodes; in what a client was told over time and in what a new one is told; with memory and without.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from homeserver.streams import read_states, unread
from homeserver.web.requester import Requester
from tests.laws.random_history import History
from tests.laws.sync_model import ClientModel
from tests.laws.test_sync_law import all_nodes_reach_the_head
from tests.laws.unread_model import Counts, counted_unread
from tests.support.node import Node, running_node, user

ROUNDS = 30
ACTIONS = 7
BY_THREAD: dict[str, Any] = {"room": {"timeline": {"unread_thread_notifications": True}}}


@pytest.fixture(params=["roomy", "tight"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much the caches may hold."""
    if request.param == "tight":
        monkeypatch.setattr(read_states, "MAX_STEPS", 2)
        monkeypatch.setattr(unread, "MAX_PARTS", 3)
        monkeypatch.setattr(unread, "MAX_USERS", 2)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_unread_counts_are_what_one_would_count(
    database_dsn: str, tmp_path: Path, seed: int, node_count: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    clients = {each.user_id: ClientModel(state_after=False) for each in users}
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        history = History(nodes, users, seed, is_about_reading=True)
        for round_ in range(ROUNDS):
            for _ in range((seed + round_) % ACTIONS + 1):
                await history.act()
            await all_nodes_reach_the_head(nodes)
            for number, each in enumerate(users):
                client = clients[each.user_id]
                if (round_ + number) % (number + 1) == 0:
                    node = nodes[(round_ + number) % node_count]
                    client.take(await node.syncs(each, client.since, chosen=BY_THREAD))
                    await _check(node, each, client, history)


async def test_unread_counts_survive_a_restart(database_dsn: str, tmp_path: Path) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    clients = {each.user_id: ClientModel(state_after=False) for each in users}
    async with running_node(database_dsn, tmp_path) as first:
        history = History([first], users, seed=100, is_about_reading=True)
        for _ in range(150):
            await history.act()
        for each in users:
            clients[each.user_id].take(await first.syncs(each, chosen=BY_THREAD))
    async with running_node(database_dsn, tmp_path) as second:
        history.goes_on_with([second])
        for _ in range(20):
            await history.act()
        for each in users:
            client = clients[each.user_id]
            client.take(await second.syncs(each, client.since, chosen=BY_THREAD))
            await _check(second, each, client, history)


async def _check(node: Node, who: Requester, client: ClientModel, history: History) -> None:
    fresh = await node.syncs(who, chosen=BY_THREAD)
    told = ClientModel(state_after=False)
    told.take(fresh)
    whole = (await node.syncs(who)).get("rooms", {})
    for room_id in fresh.get("rooms", {}).get("join", {}):
        expected = await counted_unread(node, who.user_id, room_id, history.receipts)
        assert told.unread[room_id] == expected, "a new client is told something else"
        assert client.unread[room_id] == expected, "an old client believes something else"
        assert whole["join"][room_id]["unread_notifications"] == _total(expected)


def _total(counts: Counts) -> dict[str, int]:
    return {
        name: sum(count[name] for count in counts.values())
        for name in ("highlight_count", "notification_count")
    }
