"""Spec: client-server-api/#get_matrixclientv3roomsroomidinitialsync,
client-server-api/#get_matrixclientv3initialsync
"""

import pytest

from tests.support.client import quoted, refused


def bodies(events):
    return [event["content"]["body"] for event in events if "body" in event["content"]]


def keys(events):
    return {(event["type"], event["state_key"]) for event in events}


async def room_initial_sync(client, room, **query):
    return await client.get(f"rooms/{quoted(room)}/initialSync", **query)


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob with five messages."""
    room_id = await alice.creates_room(preset="public_chat", name="room", visibility="public")
    await bob.joins(room_id)
    for number in range(5):
        await alice.sends(room_id, str(number))
    return room_id


async def test_a_room_is_shown_with_its_state_and_newest_messages(alice, bob, room):
    await bob.put(f"user/{quoted(bob.user_id)}/rooms/{quoted(room)}/tags/u.work", {"order": 0.5})
    answer = await room_initial_sync(bob, room, limit=3)
    assert (answer["room_id"], answer["membership"]) == (room, "join")
    assert answer["visibility"] == "public"
    assert bodies(answer["messages"]["chunk"]) == ["2", "3", "4"]
    assert answer["messages"]["chunk"][0]["room_id"] == room
    wanted = {("m.room.name", ""), ("m.room.create", ""), ("m.room.member", bob.user_id)}
    assert wanted <= keys(answer["state"])
    tags = {"tags": {"u.work": {"order": 0.5}}}
    assert answer["account_data"] == [{"type": "m.tag", "content": tags}]


async def test_the_tokens_lead_to_earlier_and_to_later_events(alice, room):
    messages = (await room_initial_sync(alice, room, limit=3))["messages"]
    await alice.sends(room, "later")
    earlier = await alice.reads_messages(room, "b", from_=messages["start"], limit=2)
    assert bodies(earlier["chunk"]) == ["1", "0"]
    later = await alice.reads_messages(room, "f", from_=messages["end"])
    assert bodies(later["chunk"]) == ["later"]


async def test_a_whole_room_has_no_token_for_earlier_events(alice, room):
    answer = await room_initial_sync(alice, room, limit=100)
    assert "start" not in answer["messages"]
    assert answer["messages"]["chunk"][0]["type"] == "m.room.create"


async def test_former_members_see_the_room_as_they_left_it(alice, bob, room):
    await bob.leaves(room)
    await alice.sends(room, "later")
    await alice.sets(room, "m.room.topic", {"topic": "later"})
    answer = await room_initial_sync(bob, room)
    assert answer["membership"] == "leave"
    assert "later" not in bodies(answer["messages"]["chunk"])
    assert ("m.room.topic", "") not in keys(answer["state"])


async def test_who_has_never_been_there_may_only_look_into_readable_rooms(
    alice, carol, guest, room
):
    for stranger in (carol, guest):
        with refused(403, "M_FORBIDDEN"):
            await room_initial_sync(stranger, room)
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    await alice.sends(room, "open")
    for stranger in (carol, guest):
        answer = await room_initial_sync(stranger, room)
        assert "membership" not in answer
        assert bodies(answer["messages"]["chunk"]) == ["open"]
        assert ("m.room.name", "") in keys(answer["state"])


async def test_everything_of_a_user_is_shown_at_once(alice, bob, room):
    left = await alice.creates_room(preset="public_chat")
    await bob.joins(left)
    await bob.leaves(left)
    declined = await alice.creates_room(invite=[bob.user_id])
    await bob.leaves(declined)
    invited = await alice.creates_room(invite=[bob.user_id])
    forgotten = await alice.creates_room(preset="public_chat")
    await bob.joins(forgotten)
    await bob.leaves(forgotten)
    await bob.forgets(forgotten)
    path = f"user/{quoted(bob.user_id)}/account_data/org.example.colors"
    await bob.put(path, {"blue": True})

    answer = await bob.get("initialSync", limit=2)
    rooms = {each["room_id"]: each for each in answer["rooms"]}
    assert {room_id: each["membership"] for room_id, each in rooms.items()} == {
        room: "join",
        invited: "invite",
    }
    assert bodies(rooms[room]["messages"]["chunk"]) == ["3", "4"]
    assert rooms[invited]["invite"]["content"]["membership"] == "invite"
    assert set(rooms[invited]) == {"room_id", "membership", "invite"}
    data = {each["type"]: each["content"] for each in answer["account_data"]}
    assert data["org.example.colors"] == {"blue": True}
    assert "global" in data["m.push_rules"]
    assert answer["presence"] == []

    archived = await bob.get("initialSync", limit=2, archived=True)
    memberships = {each["room_id"]: each["membership"] for each in archived["rooms"]}
    assert memberships == {room: "join", invited: "invite", left: "leave", declined: "leave"}
    assert "state" in next(e for e in archived["rooms"] if e["room_id"] == left)
    assert "state" not in next(e for e in archived["rooms"] if e["room_id"] == declined)


async def test_the_token_is_where_new_events_begin(alice, bob, room):
    token = (await bob.get("initialSync"))["end"]
    await alice.sends(room, "new")
    answer = await bob.get("events", from_=token, timeout=0)
    assert bodies(answer["chunk"]) == ["new"]


@pytest.mark.parametrize("query", [{"limit": -1}, {"limit": "x"}])
async def test_bad_queries_are_refused(alice, room, query):
    with refused(400, "M_INVALID_PARAM"):
        await room_initial_sync(alice, room, **query)
    with refused(400, "M_INVALID_PARAM"):
        await alice.get("initialSync", **query)


async def test_guests_sync_otherwise(guest):
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await guest.get("initialSync")
