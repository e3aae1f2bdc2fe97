"""Blocking invites. Spec: client-server-api/#invite-permission"""

import pytest

from tests.support.client import refused

TYPES = ["m.invite_permission_config", "org.matrix.msc4380.invite_permission_config"]
BLOCKED = (403, "M_INVITE_BLOCKED")


async def blocks(client, event_type=TYPES[0], **content):
    content = content or {"default_action": "block"}
    await client.put(f"user/{client.user_id}/account_data/{event_type}", content)


@pytest.mark.parametrize("event_type", TYPES)
async def test_who_blocks_invites_cannot_be_invited(alice, bob, event_type):
    room = await alice.creates_room()
    await blocks(bob, event_type)
    with refused(*BLOCKED):
        await alice.invites(room, bob)
    with refused(*BLOCKED):
        await alice.sets(room, "m.room.member", {"membership": "invite"}, bob.user_id)
    with refused(*BLOCKED):
        await alice.creates_room(invite=[bob.user_id], name="party")
    assert bob.user_id not in await alice.reads_members(room)
    assert await alice.joined_rooms() == [room]


async def test_the_block_ends_with_the_setting(alice, bob):
    room = await alice.creates_room()
    await blocks(bob)
    with refused(*BLOCKED):
        await alice.invites(room, bob)
    await blocks(bob, other="value")
    await alice.invites(room, bob)
    assert room in (await bob.syncs())["rooms"]["invite"]


@pytest.mark.parametrize("action", ["allow", 7, None, ["block"], {"a": "block"}])
async def test_what_the_server_does_not_know_blocks_nothing(alice, bob, action):
    await blocks(bob, default_action=action)
    await alice.creates_room(invite=[bob.user_id])


async def test_earlier_invites_are_not_shown_while_invites_are_blocked(alice, bob):
    since = (await bob.syncs())["next_batch"]
    room = await alice.creates_room(invite=[bob.user_id])
    await blocks(bob)
    assert "rooms" not in await bob.syncs(since)
    assert "rooms" not in await bob.syncs()
    listed = (await bob.get("initialSync"))["rooms"]
    assert [each["room_id"] for each in listed] == []
    # "Other endpoints … are not affected".
    assert (await alice.reads_members(room))[bob.user_id] == "invite"
    await blocks(bob, default_action="allow")
    assert room in (await bob.syncs())["rooms"]["invite"]


async def test_a_user_who_blocks_invites_still_joins_and_invites(alice, bob):
    await blocks(bob)
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    other = await bob.creates_room(invite=[alice.user_id])
    assert other in (await alice.syncs())["rooms"]["invite"]
