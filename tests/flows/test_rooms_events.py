"""Who may read an event. Spec: client-server-api/#room-history-visibility"""

import pytest

from tests.support.client import answer_of, quoted, refused


async def may_read(client, room, event_id):
    answer = await answer_of(client.reads_event(room, event_id))
    assert answer in (200, (404, "M_NOT_FOUND"))
    return answer == 200


@pytest.mark.parametrize(
    ("visibility", "seen"),
    [
        # Sent before the invite, between invite and join, while joined, after leaving.
        ("world_readable", [True, True, True, True]),
        ("shared", [True, True, True, False]),
        ("invited", [False, True, True, False]),
        ("joined", [False, False, True, False]),
    ],
)
async def test_history_is_visible_as_the_room_says(alice, bob, visibility, seen):
    room = await alice.creates_room(
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "content": {"history_visibility": visibility},
            }
        ]
    )
    sent = [await alice.sends(room, "before the invite")]
    await alice.invites(room, bob)
    sent.append(await alice.sends(room, "before the join"))
    await bob.joins(room)
    sent.append(await alice.sends(room, "together"))
    await bob.leaves(room)
    sent.append(await alice.sends(room, "afterwards"))
    assert [await may_read(bob, room, event_id) for event_id in sent] == seen
    page = await bob.reads_messages(room, "f", limit=100)
    shown = {event["event_id"] for event in page["chunk"]}
    assert [event_id in shown for event_id in sent] == seen


async def test_an_event_is_found_only_under_its_own_room(alice):
    room, other = await alice.creates_room(), await alice.creates_room()
    event_id = await alice.sends(room, "here")
    with refused(404, "M_NOT_FOUND"):
        await alice.reads_event(other, event_id)
    with refused(404, "M_NOT_FOUND"):
        await alice.reads_event(room, "$unknown")


async def test_strangers_are_not_told_that_an_event_exists(alice, bob):
    room = await alice.creates_room()
    event_id = await alice.sends(room, "secret")
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_event(room, event_id)
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_context(room, event_id)


async def test_the_readers_membership_at_the_event_is_told(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    before = await alice.sends(room, "before")
    await bob.joins(room)
    after = await alice.sends(room, "after")
    assert (await bob.reads_event(room, before))["unsigned"]["membership"] == "leave"
    assert (await bob.reads_event(room, after))["unsigned"]["membership"] == "join"


async def test_members_are_listed_as_of_now_and_as_of_a_token(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    token = (await alice.syncs())["next_batch"]
    await bob.leaves(room)
    await alice.invites(room, carol)
    assert await alice.reads_members(room) == {
        alice.user_id: "join",
        bob.user_id: "leave",
        carol.user_id: "invite",
    }
    assert await alice.reads_members(room, at=token) == {
        alice.user_id: "join",
        bob.user_id: "join",
    }
    assert await alice.reads_members(room, membership="join") == {alice.user_id: "join"}
    assert set(await alice.reads_members(room, not_membership="leave")) == {
        alice.user_id,
        carol.user_id,
    }
    both = await alice.reads_members(room, membership="leave", not_membership="join")
    assert set(both) == {bob.user_id, carol.user_id}


async def test_listed_members_are_the_same_events_as_elsewhere(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat", invite=[bob.user_id])
    await carol.joins(room)
    await bob.joins(room)
    content = {"membership": "join", "displayname": "Bobby", "reason": "told to"}
    named = await bob.sets(room, "m.room.member", content, bob.user_id)
    await alice.redacts(room, named, reason="rude")
    await carol.leaves(room)
    for reader in (alice, bob, carol):
        members = (await reader.get(f"rooms/{quoted(room)}/members"))["chunk"]
        assert {event["state_key"] for event in members} == {
            alice.user_id,
            bob.user_id,
            carol.user_id,
        }
        for event in members:
            alone = await reader.reads_event(room, event["event_id"])
            event["unsigned"]["age"] = alone["unsigned"]["age"]
            assert event == alone
    [bobby] = [event for event in members if event["state_key"] == bob.user_id]
    assert bobby["content"] == {"membership": "join"}
    assert bobby["unsigned"]["redacted_because"]["content"]["reason"] == "rude"
    assert bobby["unsigned"]["prev_content"]["membership"] == "join"


async def test_members_at_a_pagination_token_are_those_before_the_event(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await alice.sends(room, "before")
    await bob.joins(room)
    # The page ends right before Bob's join.
    page = await alice.reads_messages(room, "b", limit=1)
    assert page["chunk"][0]["state_key"] == bob.user_id
    assert bob.user_id not in await alice.reads_members(room, at=page["end"])
    assert bob.user_id in await alice.reads_members(room, at=page["start"])


async def test_former_members_see_the_members_of_the_time_when_they_left(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await bob.leaves(room)
    await carol.joins(room)
    assert await bob.reads_members(room) == {alice.user_id: "join", bob.user_id: "leave"}
    with refused(403, "M_FORBIDDEN"):
        await bob.get(f"rooms/{quoted(room)}/joined_members")


async def test_joined_members_are_listed_with_their_profiles(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat", invite=[carol.user_id])
    await bob.sets(
        room,
        "m.room.member",
        {"membership": "join", "displayname": "Bobby", "avatar_url": "mxc://hs.example/b"},
        bob.user_id,
    )
    joined = (await alice.get(f"rooms/{quoted(room)}/joined_members"))["joined"]
    assert set(joined) == {alice.user_id, bob.user_id}
    assert joined[bob.user_id] == {"display_name": "Bobby", "avatar_url": "mxc://hs.example/b"}
    with refused(403, "M_FORBIDDEN"):
        await carol.get(f"rooms/{quoted(room)}/joined_members")
