"""Forgetting rooms on leave. Spec: client-server-api/#mforget_forced_upon_leave-capability"""

import asyncio

import pytest

from homeserver.config.sections.rooms import RoomsSection
from tests.support.client import answer_of, clients_of
from tests.support.server import server_of


@pytest.fixture
async def server(database_dsn, tmp_path):
    rooms = RoomsSection(forget_on_leave=True)
    async with server_of(database_dsn, tmp_path, rooms=rooms) as running:
        yield running


@pytest.fixture
async def clients(server):
    async with clients_of(server.url) as maker:
        yield maker


async def is_forgotten(client, room):
    """Wait until the server has forgotten for the user."""
    everything = {"room": {"include_leave": True}}
    async with asyncio.timeout(60):
        while room in (await client.syncs(filter=everything)).get("rooms", {}).get("leave", {}):
            pass
    return True


@pytest.mark.parametrize("how", ["leaves", "kicks", "bans"])
async def test_who_is_out_of_a_room_has_forgotten_it(alice, bob, how):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await alice.sends(room, "hello")
    since = (await bob.syncs())["next_batch"]
    if how == "leaves":
        await bob.leaves(room)
    else:
        await getattr(alice, how)(room, bob)
    assert await is_forgotten(bob, room)
    assert await answer_of(bob.reads_messages(room)) == (403, "M_FORBIDDEN")
    # All the same every client hears that the user is out.
    assert room in (await bob.syncs(since))["rooms"]["leave"]


async def test_rejected_invites_are_forgotten_and_rooms_that_are_joined_are_not(alice, bob):
    room = await alice.creates_room(invite=[bob.user_id])
    await bob.leaves(room)
    assert await is_forgotten(bob, room)
    await alice.invites(room, bob)
    await bob.joins(room)
    assert room in (await bob.syncs())["rooms"]["join"]


async def test_the_capability_says_so(alice):
    told = (await alice.get("capabilities"))["capabilities"]
    assert told["m.forget_forced_upon_leave"] == {"enabled": True}
