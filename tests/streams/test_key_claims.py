"""Claims of one-time keys on several nodes at once."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from homeserver.protocol.identifiers import DeviceID
from homeserver.services.device_keys import KeysForm
from tests.support.node import running_node, user
from tests.support.olm import OlmDevice

SIGNED = "signed_curve25519"
ALICE = user("alice")
DEVICE = DeviceID("ALICE")
KEYS = 1_000
CLIENTS = 50


@pytest.fixture
async def nodes(database_dsn, tmp_path):
    """Two nodes, and a user with a device."""
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path)) for _ in range(2)
        ]
        async with both[0].base.database.connection() as connection:
            await connection.execute(
                "INSERT INTO users (user_id, created_ts) VALUES ($1, 0)", ALICE.user_id
            )
            await connection.execute(
                "INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, $2, 0)",
                ALICE.user_id,
                DEVICE,
            )
        yield both


async def uploads(node, count):
    """Upload keys in batches, and return their names, batch by batch."""
    device = OlmDevice(ALICE.user_id, DEVICE)
    batches = [device.one_time_keys(min(50, count)) for _ in range(count // min(50, count))]
    first = KeysForm(device_keys=device.device_keys(), fallback_keys=device.fallback_keys())
    await node.keys.uploads.upload(ALICE.user_id, DEVICE, first)
    for keys in batches:
        await node.keys.uploads.upload(ALICE.user_id, DEVICE, KeysForm(one_time_keys=keys))
    return [set(keys) for keys in batches]


async def claims(node):
    answer = await node.keys.one_time_keys.claim({ALICE.user_id: {DEVICE: SIGNED}}, 0)
    ((name,),) = [key.keys() for key in answer["one_time_keys"][ALICE.user_id].values()]
    return name


async def test_no_key_is_given_away_twice_by_nodes_that_claim_at_once(nodes):
    batches = await uploads(nodes[0], KEYS)

    async def client(number):
        return [await claims(nodes[number % 2]) for _ in range(KEYS // CLIENTS)]

    by_client = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    given = [name for names in by_client for name in names]
    assert len(given) == KEYS
    assert set(given) == set.union(*batches)
    # The fallback key is all that is left.
    assert await claims(nodes[0]) == await claims(nodes[1])


async def test_what_one_node_gives_away_another_counts(nodes):
    await uploads(nodes[0], 2)
    counts = nodes[1].keys.counts
    assert (await counts.of_device(ALICE.user_id, DEVICE)).counts == {SIGNED: 2}
    for left in (1, 0):
        await claims(nodes[0])
        await nodes[1].base.tail.reach(await nodes[0].base.reader.head())
        counted = await counts.of_device(ALICE.user_id, DEVICE)
        assert counted.counts.get(SIGNED, 0) == left
        assert counted.unused_fallback == [SIGNED]
    await claims(nodes[0])
    await nodes[1].base.tail.reach(await nodes[0].base.reader.head())
    assert (await counts.of_device(ALICE.user_id, DEVICE)).unused_fallback == []


async def test_a_claim_does_not_wait_for_who_replaces_the_fallback_key(nodes):
    await uploads(nodes[0], 1)
    await claims(nodes[0])
    async with nodes[0].base.database.transaction() as tx:
        await tx.execute("UPDATE fallback_keys SET key_id = 'other'")
        async with asyncio.timeout(30):
            assert await claims(nodes[1]) != f"{SIGNED}:other"
    assert await claims(nodes[1]) == f"{SIGNED}:other"


async def test_a_claim_passes_over_a_key_that_is_being_deleted(nodes):
    await uploads(nodes[0], 1)
    async with nodes[0].base.database.transaction() as tx:
        await tx.execute("DELETE FROM devices")
        async with asyncio.timeout(30):
            await claims(nodes[1])
