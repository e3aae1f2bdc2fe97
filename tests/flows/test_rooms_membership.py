"""Spec: client-server-api/#room-membership"""

import asyncio

import pytest

from tests.support.client import quoted, refused
from tests.support.server import SERVER_NAME


@pytest.fixture
async def room(alice):
    """A private room of Alice."""
    return await alice.creates_room()


@pytest.fixture
async def square(alice):
    """A room of Alice that everybody may join."""
    return await alice.creates_room(preset="public_chat", room_alias_name="square")


async def membership(client, room, other):
    return (await client.reads_state(room, "m.room.member", other.user_id))["membership"]


async def test_an_invited_user_joins(alice, bob, room):
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(room)
    await alice.invites(room, bob, reason="come in")
    invite = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (invite["membership"], invite["reason"]) == ("invite", "come in")
    assert await bob.joined_rooms() == []
    assert await bob.joins(room) == room
    assert await bob.joined_rooms() == [room]
    assert await membership(alice, room, bob) == "join"


async def test_a_room_is_joined_by_its_id_or_its_alias(alice, bob, carol, square):
    answer = await bob.post(f"rooms/{quoted(square)}/join", {"reason": "hello"})
    assert answer == {"room_id": square}
    assert (await bob.reads_state(square, "m.room.member", bob.user_id))["reason"] == "hello"
    assert await carol.joins(f"#square:{SERVER_NAME}") == square
    assert set(await alice.reads_members(square, membership="join")) == {
        alice.user_id,
        bob.user_id,
        carol.user_id,
    }


async def test_joining_takes_servers_to_go_through_by_both_names(bob, square):
    path = f"join/{quoted(square)}"
    servers = ["one.example", "two.example"]
    assert await bob.post(path, {}, via=servers) == {"room_id": square}
    assert await bob.post(path, {}, server_name=servers) == {"room_id": square}


async def test_joining_again_and_inviting_again_change_nothing(alice, bob, room):
    await alice.invites(room, bob)
    await alice.invites(room, bob)
    await bob.joins(room)
    await bob.joins(room)
    events = (await alice.reads_messages(room, "f", limit=100))["chunk"]
    about_bob = [event for event in events if event.get("state_key") == bob.user_id]
    assert [event["content"]["membership"] for event in about_bob] == ["invite", "join"]


async def test_an_unknown_alias_or_room_cannot_be_joined(bob):
    with refused(404, "M_NOT_FOUND"):
        await bob.joins(f"#nowhere:{SERVER_NAME}")
    with refused(404, "M_NOT_FOUND"):
        await bob.joins(f"!nowhere:{SERVER_NAME}")


async def test_only_members_invite_and_nobody_invites_members(alice, bob, carol, square):
    with refused(403, "M_FORBIDDEN"):
        await bob.invites(square, carol)
    await bob.joins(square)
    with refused(403, "M_FORBIDDEN"):
        await alice.invites(square, bob)


async def test_a_banned_user_can_neither_join_nor_be_invited(alice, bob, square):
    await bob.joins(square)
    await alice.bans(square, bob, reason="spam")
    ban = await alice.reads_state(square, "m.room.member", bob.user_id)
    assert (ban["membership"], ban["reason"]) == ("ban", "spam")
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(square)
    with refused(403, "M_FORBIDDEN"):
        await alice.invites(square, bob)
    with refused(403, "M_FORBIDDEN"):
        await bob.sends(square, "let me in")
    await alice.unbans(square, bob)
    await bob.joins(square)


async def test_a_user_who_is_not_there_can_be_banned_but_not_kicked(alice, bob, room):
    with refused(403, "M_FORBIDDEN"):
        await alice.kicks(room, bob)
    await alice.bans(room, bob)
    assert await membership(alice, room, bob) == "ban"


async def test_a_kicked_user_may_come_back_to_a_public_room(alice, bob, square):
    await bob.joins(square)
    await alice.kicks(square, bob, reason="calm down")
    kicked = await alice.reads_state(square, "m.room.member", bob.user_id)
    assert (kicked["membership"], kicked["reason"]) == ("leave", "calm down")
    assert await bob.joined_rooms() == []
    await bob.joins(square)


async def test_members_without_power_cannot_kick_ban_or_unban(alice, bob, carol, square):
    await bob.joins(square)
    await carol.joins(square)
    for attempt in (bob.kicks, bob.bans, bob.unbans):
        with refused(403, "M_FORBIDDEN"):
            await attempt(square, carol)
    assert await membership(alice, square, carol) == "join"


async def test_an_invite_shows_who_invites(alice, bob, room):
    await alice.put(f"profile/{quoted(alice.user_id)}/displayname", {"displayname": "Alice L."})
    await alice.invites(room, bob)
    shown = (await bob.syncs())["rooms"]["invite"][room]["invite_state"]["events"]
    members = {e["state_key"]: e["content"] for e in shown if e["type"] == "m.room.member"}
    assert members.keys() == {alice.user_id, bob.user_id}
    assert members[alice.user_id]["displayname"] == "Alice L."


async def test_an_invite_can_be_taken_back_and_rejected(alice, bob, room):
    await alice.invites(room, bob)
    await alice.kicks(room, bob)
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(room)
    await alice.invites(room, bob)
    await bob.leaves(room, reason="no, thanks")
    left = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (left["membership"], left["reason"]) == ("leave", "no, thanks")


async def test_leaving_twice_is_no_error_and_leaving_a_strange_room_is(alice, bob, square):
    with refused(403, "M_FORBIDDEN"):
        await bob.leaves(square)
    await bob.joins(square)
    await bob.leaves(square)
    await bob.leaves(square)
    assert await membership(alice, square, bob) == "leave"


async def test_a_knock_is_answered_by_an_invite_or_a_kick_or_taken_back(alice, bob):
    room = await alice.creates_room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    )
    assert await bob.knocks(room, reason="please") == room
    knock = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (knock["membership"], knock["reason"]) == ("knock", "please")
    await bob.knocks(room)
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(room)
    await bob.leaves(room)
    assert await membership(alice, room, bob) == "leave"
    await bob.knocks(room)
    await alice.kicks(room, bob)
    await bob.knocks(room)
    await alice.invites(room, bob)
    with refused(403, "M_FORBIDDEN"):
        await bob.knocks(room)
    await bob.joins(room)
    with refused(403, "M_FORBIDDEN"):
        await bob.knocks(room)


async def test_a_room_that_knows_no_knocking_cannot_be_knocked_on(alice, bob, room):
    with refused(403, "M_FORBIDDEN"):
        await bob.knocks(room)
    old = await alice.creates_room(room_version="6", room_alias_name="old")
    with refused(403, "M_FORBIDDEN"):
        await bob.knocks(f"#old:{SERVER_NAME}")
    assert bob.user_id not in await alice.reads_members(old)


async def test_a_restricted_room_admits_the_members_of_another_one(alice, bob, carol, square):
    allow = [{"type": "m.room_membership", "room_id": square}]
    inner = await alice.creates_room(
        room_version="10",
        initial_state=[
            {
                "type": "m.room.join_rules",
                "content": {"join_rule": "restricted", "allow": allow},
            }
        ],
    )
    await bob.joins(square)
    await bob.joins(inner)
    joined = await alice.reads_state(inner, "m.room.member", bob.user_id)
    assert joined["join_authorised_via_users_server"] == alice.user_id
    with refused(403, "M_FORBIDDEN"):
        await carol.joins(inner)
    await alice.invites(inner, carol)
    await carol.joins(inner)


async def test_a_room_is_forgotten_after_it_has_been_left(alice, bob, square):
    await bob.joins(square)
    event_id = await alice.sends(square, "before")
    with refused(400, "M_UNKNOWN"):
        await bob.forgets(square)
    await bob.leaves(square)
    await bob.reads_event(square, event_id)
    await bob.forgets(square)
    await bob.forgets(square)
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_event(square, event_id)
    with refused(403, "M_FORBIDDEN"):
        await bob.reads_messages(square)
    await bob.joins(square)
    await bob.reads_event(square, event_id)


async def test_an_invite_is_remembered_however_it_races_with_forgetting(alice, bob, room):
    await alice.invites(room, bob)
    await bob.leaves(room)
    await asyncio.gather(alice.invites(room, bob), bob.forgets(room), return_exceptions=True)
    assert room in (await bob.syncs())["rooms"]["invite"]


async def test_a_room_that_the_user_never_saw_cannot_be_forgotten(alice, bob, room):
    with refused(404, "M_NOT_FOUND"):
        await bob.forgets(room)
    with refused(404, "M_NOT_FOUND"):
        await bob.forgets(f"!nowhere:{SERVER_NAME}")


async def test_joined_rooms_lists_only_rooms_that_the_user_is_in(alice, bob, room, square):
    await alice.invites(room, bob)
    await bob.joins(square)
    assert await bob.joined_rooms() == [square]
    assert set(await alice.joined_rooms()) == {room, square}


async def test_an_address_cannot_be_invited_without_an_identity_server(alice, room):
    address = {
        "id_server": "id.example",
        "id_access_token": "t",
        "medium": "email",
        "address": "bob@mail.example",
    }
    with refused(403, "M_SERVER_NOT_TRUSTED"):
        await alice.post(f"rooms/{quoted(room)}/invite", address)
    del address["address"]
    with refused(400, "M_MISSING_PARAM"):
        await alice.post(f"rooms/{quoted(room)}/invite", address)


async def test_older_clients_use_older_paths(alice, bob, room):
    await alice.post(f"/_matrix/client/r0/rooms/{quoted(room)}/invite", {"user_id": bob.user_id})
    await bob.post(f"/_matrix/client/r0/rooms/{quoted(room)}/join")
    assert (await bob.get("/_matrix/client/r0/joined_rooms"))["joined_rooms"] == [room]


async def test_a_client_cannot_say_who_authorised_a_join(alice, bob, square):
    await bob.joins(square)
    await bob.sets(
        square,
        "m.room.member",
        {
            "membership": "join",
            "displayname": "Bobby",
            "join_authorised_via_users_server": "@admin:elsewhere.example",
        },
        bob.user_id,
    )
    assert await alice.reads_state(square, "m.room.member", bob.user_id) == {
        "membership": "join",
        "displayname": "Bobby",
    }
