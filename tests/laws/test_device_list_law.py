"""The law of device lists: what is told is the difference between two looks at everything."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from homeserver.protocol.identifiers import DeviceID, RoomID, ServerName
from homeserver.services.cross_signing import CrossSigning, CrossSigningForm
from homeserver.services.device_keys import KeysForm
from homeserver.services.devices import append_removals
from homeserver.services.key_signatures import KeySignatures
from homeserver.services.reauthentication import Reauthentication
from homeserver.storage import devices
from homeserver.storage.database import Transaction
from homeserver.web.params import RequestFacts
from homeserver.web.requester import Requester
from tests.laws.random_history import History
from tests.laws.test_sync_law import all_nodes_reach_the_head
from tests.support.key_uploads import CrossSigner
from tests.support.node import Node, running_node, user
from tests.support.olm import OlmDevice

ROUNDS = 30
ACTIONS = 5
SECOND = DeviceID("SECOND")
FACTS = RequestFacts(ip="", user_agent="", request_id="", listener="")
ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class KeyHistory(History):
    """As users come and go, turn on encryption, and change their keys."""

    def __init__(self, nodes: list[Node], users: list[Requester], seed: int) -> None:
        super().__init__(nodes, users, seed)
        # How often a user's keys have changed.
        self.generations: dict[str, int] = dict.fromkeys((each.user_id for each in users), 0)
        self._signers: dict[str, CrossSigner] = {}
        # By who has signed and whose key: with which key which. Others are signed anew.
        self.signatures: dict[tuple[str, str], tuple[str, str]] = {}

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
            (self._add_device, 1),
            (self._remove_device, 2),
            (self._cross_sign, 2),
            (self._sign_other, 3),
        ]

    async def _encrypt(self, node: Node, who: Requester, room: RoomID) -> None:
        await node.rooms.send.state(who, room, "m.room.encryption", "", ENCRYPTION)

    async def _change_keys(self, node: Node, who: Requester, _: RoomID) -> None:
        device_id = who.device_id or DeviceID("D")
        keys = OlmDevice(who.user_id, device_id).device_keys()
        await node.keys.uploads.upload(who.user_id, device_id, KeysForm(device_keys=keys))
        self.generations[who.user_id] += 1

    async def _add_device(self, node: Node, who: Requester, _: RoomID) -> None:
        async with node.base.database.connection() as connection:
            await connection.execute(
                """
                INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, $2, 0)
                ON CONFLICT DO NOTHING
                """,
                who.user_id,
                SECOND,
            )
        # Its user's other devices are none of its business, and nobody's before it has keys.
        if self._random.random() < 0.7:
            second = msgspec.structs.replace(who, device_id=SECOND)
            await self._change_keys(node, second, RoomID(""))

    async def _remove_device(self, node: Node, who: Requester, _: RoomID) -> None:
        async with node.base.database.connection() as connection:
            has_keys = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM device_keys WHERE user_id = $1 AND device_id = $2)",
                who.user_id,
                SECOND,
            )

        async def work(tx: Transaction) -> int | None:
            removed = await devices.delete(tx, who.user_id, [SECOND])
            return await append_removals(tx, who.user_id, removed) if removed else None

        position = await node.base.database.run_transaction(work, "remove")
        if position is not None:
            await node.base.log_writer.told(position)
        self.generations[who.user_id] += has_keys

    async def _cross_sign(self, node: Node, who: Requester, _: RoomID) -> None:
        signer = self._signers[who.user_id] = CrossSigner(who.user_id)
        # An application service need not prove again who it is.
        upload = CrossSigning(
            node.base.database, node.base.log_writer, cast("Reauthentication", None)
        ).upload
        requester = msgspec.structs.replace(who, appservice_id="bridge")
        await upload(requester, msgspec.convert(signer.keys, CrossSigningForm), FACTS)
        self.generations[who.user_id] += 1
        self.signatures = {
            place: keys for place, keys in self.signatures.items() if place[0] != who.user_id
        }

    async def _sign_other(self, node: Node, who: Requester, _: RoomID) -> None:
        """Only who has signed hears of it."""
        target = self._any_user()
        signer, other = (self._signers.get(each.user_id) for each in (who, target))
        if signer is None or other is None or target == who:
            return
        signed = {target.user_id: {other.public_key: signer.signs_user(other.master_key)}}
        service = KeySignatures(node.base.database, node.base.log_writer, ServerName("localhost"))
        assert await service.upload(who.user_id, signed) == {}
        self.signatures[who.user_id, target.user_id] = (signer.public_key, other.public_key)


class Look(NamedTuple):
    """Everything at one moment: with whom a user shares rooms, and whose keys are which."""

    shared: frozenset[str]
    shared_encrypted: frozenset[str]
    generations: dict[str, int]
    signatures: dict[tuple[str, str], tuple[str, str]]


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
        dict(history.signatures),
    )


def difference(who: Requester, before: Look, after: Look) -> dict[str, list[str]]:
    """Return what a client must be told that has seen `before`."""
    left = (before.shared_encrypted - after.shared_encrypted) | (before.shared - after.shared)
    new_keys = {
        each
        for each in (*after.shared, who.user_id)
        if before.generations[each] != after.generations[each]
    }
    signed = {
        target
        for (signer, target), keys in after.signatures.items()
        if signer == who.user_id and keys != before.signatures.get((signer, target))
    }
    came = (after.shared_encrypted - before.shared_encrypted) | (after.shared - before.shared)
    return {"changed": sorted((new_keys | signed | came) - left), "left": sorted(left)}


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
