"""Messages to devices, sent on one node and taken on another."""

import asyncio
from typing import Any

from tests.nodes.test_one_account import PATIENCE_SECONDS, TwoNodes, alice, soon
from tests.support.to_device import sends_to_device, told

__all__ = ["alice"]


async def test_waiting_sync_there_gets_a_message_sent_here(alice: TwoNodes) -> None:
    since = (await alice.there.syncs())["next_batch"]
    waiting = asyncio.create_task(alice.there.syncs(since, timeout=30_000))
    await sends_to_device(alice.here, {alice.here.user_id: {"*": {"n": 1}}})
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert told(await waiting) == [{"n": 1}]


async def test_what_is_acknowledged_there_comes_nowhere_again(
    alice: TwoNodes,
) -> None:
    since = (await alice.there.syncs())["next_batch"]
    await sends_to_device(alice.here, {alice.here.user_id: {"*": {"n": 1}}})
    first: dict[str, Any] = await alice.here.syncs(since)
    assert told(first) == [{"n": 1}]
    again = await alice.there.syncs(first["next_batch"])
    assert told(again) == []
    for node in (alice.here, alice.there):
        assert told(await node.syncs()) == told(await node.syncs(since)) == []


async def test_request_sent_to_both_nodes_has_its_effect_once(alice: TwoNodes) -> None:
    everybody = {alice.here.user_id: {"*": {"n": 1}}}
    requests = [
        sends_to_device(node, everybody, txn_id="one")
        for node in (alice.here, alice.there)
        for _ in range(5)
    ]
    await asyncio.gather(*requests)
    answers: list[Any] = []

    async def has_come() -> bool:
        answers.append(told(await alice.there.syncs()))
        return bool(answers[-1])

    await soon(has_come)
    assert answers[-1] == [{"n": 1}]
