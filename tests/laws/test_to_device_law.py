"""The law of messages to devices: none is lost, none comes after it was acknowledged.

Whatever a device has not acknowledged comes in the order in which it was sent, and again until it
is acknowledged; on whichever node, after restarts, to clients that lose answers or their memory.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.run.to_device_layer import to_device_of
from homeserver.services import to_device_inbox
from homeserver.storage.database import Database
from homeserver.web.requester import Requester
from tests.laws.test_sync_law import all_nodes_reach_the_head
from tests.support.node import Node, running_node, user

STEPS = 150
BATCH = 3
PHONE, TABLET, SENDER = user("phone"), user("tablet"), user("sender")


class DeviceModel:
    """What a device has been sent, and how much of it each of its tokens acknowledges."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.acknowledged = 0
        self.tokens: dict[str, int] = {}
        self.since: str | None = None

    def check(self, since: str | None, answer: dict[str, Any], *, is_whole: bool) -> None:
        """Compare an answer with what the law wants; `is_whole`: the node knows everything."""
        if since is not None:
            self.acknowledged = max(self.acknowledged, self.tokens[since])
        events = answer.get("to_device", {"events": []})["events"]
        got = [event["content"]["n"] for event in events]
        wanted = self.sent[self.acknowledged :][:BATCH]
        assert got == (wanted if is_whole else wanted[: len(got)])
        told = self.acknowledged + len(got)
        # One position may be told twice, with nothing new in between.
        assert self.tokens.setdefault(answer["next_batch"], told) == told


class Exchange:
    """A random history of sending and syncing."""

    def __init__(self, nodes: Sequence[Node], seed: int) -> None:
        self.nodes = list(nodes)
        self._choice = random.Random(seed)
        self.devices = {each.user_id: (each, DeviceModel()) for each in (PHONE, TABLET)}
        self._number = 0

    async def act(self) -> None:
        actions = [self._send] * 4 + [self._sync] * 3 + [self._lose_answer, self._look_back]
        await self._choice.choice([*actions, self._forget_all])()

    async def settle(self) -> None:
        """Have every device take all that waits."""
        await all_nodes_reach_the_head(self.nodes)
        for requester, model in self.devices.values():
            while model.acknowledged < len(model.sent):
                await self._syncs(requester, model, model.since)
                model.since = self._last_token

    async def _send(self) -> None:
        """Send to some devices, now and then twice or on two nodes at the same time."""
        self._number += 1
        targets = self._choice.sample(sorted(self.devices), self._choice.randint(1, 2))
        messages = {
            UserID(user_id): {self._choice.choice(["*", self._device_of(user_id)]): self._content()}
            for user_id in targets
        }
        times = self._choice.choice([1, 1, 2, 3])
        await asyncio.gather(
            *(
                to_device_of(self._choice.choice(self.nodes).base).send(
                    SENDER, "m.dummy", str(self._number), messages
                )
                for _ in range(times)
            )
        )
        for user_id in targets:
            self.devices[UserID(user_id)][1].sent.append(self._number)

    async def _sync(self) -> None:
        requester, model = self._any_device()
        await self._syncs(requester, model, model.since)
        model.since = self._last_token

    async def _lose_answer(self) -> None:
        requester, model = self._any_device()
        await self._syncs(requester, model, model.since)

    async def _forget_all(self) -> None:
        requester, model = self._any_device()
        await self._syncs(requester, model, None)
        model.since = self._last_token

    async def _look_back(self) -> None:
        """Come with any token that there ever was: the client was restored from a copy."""
        requester, model = self._any_device()
        if model.tokens:
            await self._syncs(requester, model, self._choice.choice(list(model.tokens)))

    async def _syncs(self, requester: Requester, model: DeviceModel, since: str | None) -> None:
        is_whole = self._choice.random() < 0.7
        if is_whole:
            await all_nodes_reach_the_head(self.nodes)
        full_state = self._choice.random() < 0.2
        answer = await self._choice.choice(self.nodes).syncs(
            requester, since, full_state=full_state
        )
        model.check(since, answer, is_whole=is_whole)
        self._last_token: str = answer["next_batch"]

    def _any_device(self) -> tuple[Requester, DeviceModel]:
        return self.devices[self._choice.choice([PHONE.user_id, TABLET.user_id])]

    def _device_of(self, user_id: str) -> str:
        return str(self.devices[UserID(user_id)][0].device_id)

    def _content(self) -> dict[str, Any]:
        return {"n": self._number}


async def _add_devices(database: Database) -> None:
    async with database.connection() as connection:
        for each in (PHONE, TABLET, SENDER):
            await connection.execute(
                "INSERT INTO users (user_id, created_ts) VALUES ($1, 0)", each.user_id
            )
            await connection.execute(
                "INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, $2, 0)",
                each.user_id,
                each.device_id,
            )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_no_message_is_lost_or_comes_after_it_was_acknowledged(
    database_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    *,
    node_count: int,
) -> None:
    monkeypatch.setattr(to_device_inbox, "MAX_BATCH", BATCH)
    exchange = Exchange([], seed)
    # Each part is a life of the nodes; the devices, and what is stored, outlive it.
    for part in range(3):
        async with AsyncExitStack() as stack:
            exchange.nodes = [
                await stack.enter_async_context(running_node(database_dsn, tmp_path))
                for _ in range(node_count)
            ]
            if part == 0:
                await _add_devices(exchange.nodes[0].base.database)
            for _ in range(STEPS // 3):
                await exchange.act()
            if part == 2:
                await exchange.settle()
                async with exchange.nodes[0].base.database.connection() as connection:
                    left = await connection.fetchval("SELECT count(*) FROM to_device_messages")
    assert left == 0
    assert all(len(model.sent) > 10 for _, model in exchange.devices.values())
