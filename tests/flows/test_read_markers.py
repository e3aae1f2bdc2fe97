"""Spec: client-server-api/#read-and-unread-markers"""

import pytest

from tests.support.client import Refusal, quoted, refused
from tests.support.reading import marks_read, receipts_in, unread_in


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def marker_of(client, room):
    """Return the fully read marker as account data."""
    path = f"user/{quoted(client.user_id)}/rooms/{quoted(room)}/account_data/m.fully_read"
    return (await client.get(path))["event_id"]


def told_marker(answer, room):
    """Return the fully read marker in an answer of /sync, None without."""
    room = answer.get("rooms", {}).get("join", {}).get(room, {})
    for event in room.get("account_data", {}).get("events", ()):
        if event["type"] == "m.fully_read":
            return event["content"]["event_id"]
    return None


async def test_a_marker_is_told_to_its_user_only(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    since = (await alice.syncs())["next_batch"]
    await bob.post(f"rooms/{quoted(room)}/read_markers", {"m.fully_read": event_id})
    assert told_marker(await bob.syncs(since), room) == event_id
    assert told_marker(await bob.syncs(), room) == event_id
    assert await marker_of(bob, room) == event_id
    assert "rooms" not in await alice.syncs(since)


async def test_marker_and_receipts_move_in_one_request(alice, bob, room):
    events = [await alice.sends(room, text) for text in ("one", "two", "three")]
    body = {"m.fully_read": events[0], "m.read": events[1], "m.read.private": events[2]}
    assert await bob.post(f"rooms/{quoted(room)}/read_markers", body) == {}
    answer = await bob.syncs()
    assert told_marker(answer, room) == events[0]
    assert receipts_in(answer, room) == {
        (bob.user_id, "m.read", None): events[1],
        (bob.user_id, "m.read.private", None): events[2],
    }
    assert unread_in(answer, room) == {"main": (0, 0)}


async def test_private_receipts_have_an_older_name(alice, bob, room):
    first, second = await alice.sends(room, "one"), await alice.sends(room, "two")
    unstable = "org.matrix.msc2285.read.private"
    body = {"m.read.private": first, unstable: first}
    assert await bob.post(f"rooms/{quoted(room)}/read_markers", body) == {}
    told = (bob.user_id, "m.read.private", None)
    assert receipts_in(await bob.syncs(), room) == {told: first}
    await marks_read(bob, room, second, unstable)
    assert receipts_in(await bob.syncs(), room) == {told: second}


async def test_a_marker_may_be_set_like_a_receipt(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    await marks_read(bob, room, event_id, "m.fully_read")
    assert await marker_of(bob, room) == event_id
    assert receipts_in(await bob.syncs(), room) == {}
    assert unread_in(await bob.syncs(), room) == {"main": (1, 0)}
    with refused(400, "M_INVALID_PARAM"):
        await marks_read(bob, room, event_id, "m.fully_read", thread_id="main")


async def test_a_marker_moves_forward_and_never_back(alice, bob, room):
    first, second = await alice.sends(room, "one"), await alice.sends(room, "two")
    await marks_read(bob, room, second, "m.fully_read")
    since = (await bob.syncs())["next_batch"]
    for event_id in (first, second):
        await marks_read(bob, room, event_id, "m.fully_read")
    assert await marker_of(bob, room) == second
    assert "rooms" not in await bob.syncs(since)


async def test_clients_cannot_write_the_marker_themselves(alice, room):
    event_id = await alice.sends(room, "hello")
    path = f"user/{quoted(alice.user_id)}/rooms/{quoted(room)}/account_data/m.fully_read"
    with refused(405, "M_BAD_JSON"):
        await alice.put(path, {"event_id": event_id})


async def test_the_event_must_belong_to_the_room(alice, bob, carol, room):
    other = await alice.creates_room(preset="public_chat")
    elsewhere = await alice.sends(other, "elsewhere")
    path = f"rooms/{quoted(room)}/read_markers"
    for name in ("m.fully_read", "m.read", "m.read.private"):
        for event_id in (elsewhere, "$unknown"):
            with refused(404, "M_NOT_FOUND"):
                await bob.post(path, {name: event_id})
    known = await alice.sends(room, "hello")
    with refused(404, "M_NOT_FOUND"):
        await bob.post(path, {"m.read": known, "m.read.private": elsewhere})
    assert receipts_in(await bob.syncs(), room) == {}, "all or none"
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "joined"})
    with refused(404, "M_NOT_FOUND"):
        await carol.post(path, {"m.fully_read": await alice.sends(room, "hidden")})


async def test_nothing_to_set_is_no_error(alice, room):
    assert await alice.post(f"rooms/{quoted(room)}/read_markers", {}) == {}


@pytest.mark.parametrize("name", ["m.fully_read", "m.read", "m.read.private"])
@pytest.mark.parametrize("value", [5, None, "", "no event ID", ["$a"], "$" + "x" * 300], ids=repr)
async def test_what_is_no_event_id_is_refused(alice, room, name, value):
    with pytest.raises(Refusal) as caught:
        await alice.post(f"rooms/{quoted(room)}/read_markers", {name: value})
    assert caught.value.status == 400
