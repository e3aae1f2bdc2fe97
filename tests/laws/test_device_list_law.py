"""The law of device lists: what is told is the difference between two looks at everything."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from homeserver.protocol.identifiers import DeviceID, RoomID
from homeserver.services.device_keys import KeysForm
from homeserver.web.requester import Requester
from tests.laws.random_history import History
from tests.laws.test_sync_law import all_nodes_reach_the_head
from tests.support.node import Node, running_node, user
from tests.support.olm import OlmDevice

ROUNDS = 30
ACTIONS = 5
ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class KeyHistory(History):
    """As users come and go, turn on encryption, and change their keys."""

    def __init__(self, nodes: list[Node], users: list[Requester], seed: int) -> None:
        super().__init__(nodes, users, seed)
        # How often a user's keys have changed.
        self.generations: dict[str, int] = dict.fromkeys((each.user_id for each in users), 0)

    def _weights(self) -> list[tuple[Any, int]]:
        return [
            (self._message, 1),
            (self._topic, 1),
            (self._join, 8),
            (self._leave, 5),
            (self._kick, 1),
            (self._rename, 2),
            (self._invite, 1),
            (self._encrypt, 2),
            (self._change_keys, 4),
        ]

    async def _encrypt(self, node: Node, who: Requester, room: RoomID) -> None:
        await node.rooms.send.state(who, room, "m.room.encryption", "", ENCRYPTION)

    async def _change_keys(self, node: Node, who: Requester, _: RoomID) -> None:
        device_id = who.device_id or DeviceID("D")
        keys = OlmDevice(who.user_id, device_id).device_keys()
        await node.keys.uploads.upload(who.user_id, device_id, KeysForm(device_keys=keys))
        self.generations[who.user_id] += 1


class Look(NamedTuple):
    """Everything at one moment: with whom a user shares rooms, and whose keys are which."""

    shared: frozenset[str]
    shared_encrypted: frozenset[str]
    generations: dict[str, int]


async def look(node: Node, who: Requester, history: KeyHistory) -> Look:
    """Read the present state of everything, the slow way."""
    async with node.base.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT m.user_id, m.room_nid, EXISTS (
                SELECT FROM room_state s JOIN state_keys k ON k.key_nid = s.key_nid
                WHERE s.room_nid = m.room_nid AND k.type = 'm.room.encryption'
            ) AS is_encrypted
            FROM memberships m WHERE m.membership = 'join'
            """
        )
    own = {row["room_nid"] for row in rows if row["user_id"] == who.user_id}
    others = [row for row in rows if row["room_nid"] in own and row["user_id"] != who.user_id]
    return Look(
        frozenset(row["user_id"] for row in others),
        frozenset(row["user_id"] for row in others if row["is_encrypted"]),
        dict(history.generations),
    )


def difference(who: Requester, before: Look, after: Look) -> dict[str, list[str]]:
    """Return what a client must be told that has seen `before`."""
    left = (before.shared_encrypted - after.shared_encrypted) | (before.shared - after.shared)
    new_keys = {
        each
        for each in (*after.shared, who.user_id)
        if before.generations[each] != after.generations[each]
    }
    came = (after.shared_encrypted - before.shared_encrypted) | (after.shared - before.shared)
    return {"changed": sorted((new_keys | came) - left), "left": sorted(left)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_device_lists_are_the_difference_between_then_and_now(
    database_dsn: str, tmp_path: Path, seed: int, *, node_count: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol", "dave")]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        await _make_devices(nodes[0], users)
        history = KeyHistory(nodes, users, seed)
        known: dict[str, tuple[str, Look]] = {}
        told = 0
        for round_ in range(ROUNDS):
            for _ in range((seed + round_) % ACTIONS + 1):
                await history.act()
            await all_nodes_reach_the_head(nodes)
            node = nodes[round_ % node_count]
            if round_ % 10 == 9:
                # What is older than this is read from the database.
                node.base.tail._restart(node.base.tail.position)
            for number, each in enumerate(users):
                # Some clients come back seldom.
                if (round_ + number) % (number + 1) != 0:
                    continue
                now = await look(node, each, history)
                since, before = known.get(each.user_id, (None, now))
                answer = await node.syncs(each, since)
                expected = difference(each, before, now)
                lists = answer.get("device_lists", {"changed": [], "left": []})
                assert lists == expected, (round_, each.user_id)
                assert ("device_lists" in answer) == any(expected.values())
                told += len(expected["changed"]) + len(expected["left"])
                known[each.user_id] = (answer["next_batch"], now)
        assert told > ROUNDS / 2


async def _make_devices(node: Node, users: list[Requester]) -> None:
    async with node.base.database.connection() as connection:
        for each in users:
            await connection.execute(
                "INSERT INTO users (user_id, created_ts) VALUES ($1, 0)", each.user_id
            )
            await connection.execute(
                "INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, $2, 0)",
                each.user_id,
                each.device_id,
            )
