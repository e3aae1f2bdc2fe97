"""Spec: client-server-api/#get_matrixclientv3events, client-server-api/#room-previews"""

import asyncio

import pytest

from homeserver.services import event_stream
from tests.support.client import quoted, refused
from tests.support.relations import bundle_of, edit


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


def bodies(answer):
    return [e["content"]["body"] for e in answer["chunk"] if "body" in e["content"]]


async def now(client):
    return (await client.get("events", timeout=0))["end"]


async def test_new_events_of_all_rooms_come_in_order(alice, bob, room):
    other = await alice.creates_room(preset="public_chat")
    await bob.joins(other)
    token = await now(bob)
    sent = [await alice.sends(each, "hello") for each in (room, other, room)]
    answer = await bob.get("events", from_=token, timeout=0)
    assert [event["event_id"] for event in answer["chunk"]] == sent
    assert [event["room_id"] for event in answer["chunk"]] == [room, other, room]
    assert answer["start"] == token
    assert await now(bob) == answer["end"]
    assert (await bob.get("events", from_=answer["end"], timeout=0))["chunk"] == []


async def test_a_waiting_request_is_answered_by_the_next_event(alice, bob, room, server):
    token = await now(bob)
    waiting = asyncio.create_task(bob.get("events", from_=token, timeout=60_000))
    while not server.base.notifier.waiting():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0)
    await alice.sends(room, "hello")
    assert bodies(await waiting) == ["hello"]


async def test_what_happens_to_oneself_is_told(alice, bob, room):
    token = await now(bob)
    invited = await alice.creates_room(invite=[bob.user_id])
    await alice.kicks(room, bob)
    await alice.sends(room, "secret")
    answer = await bob.get("events", from_=token, timeout=0)
    own = [event for event in answer["chunk"] if event.get("state_key") == bob.user_id]
    assert [(e["room_id"], e["content"]["membership"]) for e in own] == [
        (invited, "invite"),
        (room, "leave"),
    ]
    assert {event["room_id"] for event in answer["chunk"]} == {invited, room}
    assert len(answer["chunk"]) == 2


async def test_old_events_are_read_from_the_tables(alice, bob, room, server):
    token = await now(bob)
    sent = [await alice.sends(room, str(number)) for number in range(5)]
    tail = server.base.tail
    tail._restart(tail.position)
    answer = await bob.get("events", from_=token, timeout=0)
    assert [event["event_id"] for event in answer["chunk"]] == sent


async def test_an_answer_is_limited_and_goes_on_from_its_end(alice, bob, room, monkeypatch):
    monkeypatch.setattr(event_stream, "MAX_EVENTS", 2)
    token = await now(bob)
    for number in range(5):
        await alice.sends(room, str(number))
    found = []
    for _ in range(4):
        answer = await bob.get("events", from_=token, timeout=0)
        found.append(bodies(answer))
        token = answer["end"]
    assert found == [["0", "1"], ["2", "3"], ["4"], []]


async def test_messages_of_ignored_users_are_left_out(alice, bob, room):
    path = f"user/{quoted(bob.user_id)}/account_data/m.ignored_user_list"
    await bob.put(path, {"ignored_users": {alice.user_id: {}}})
    token = await now(bob)
    await alice.sends(room, "unheard")
    await alice.sets(room, "m.room.topic", {"topic": "state"})
    answer = await bob.get("events", from_=token, timeout=0)
    assert [event["type"] for event in answer["chunk"]] == ["m.room.topic"]


async def test_readable_rooms_are_followed_from_outside(alice, carol, guest, room):
    with refused(403, "M_FORBIDDEN"):
        await carol.get("events", room_id=room, timeout=0)
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    for stranger in (carol, guest):
        snapshot = await stranger.get(f"rooms/{quoted(room)}/initialSync")
        token = snapshot["messages"]["end"]
        await alice.sends(room, "open")
        answer = await stranger.get("events", room_id=room, from_=token, timeout=0)
        assert bodies(answer) == ["open"]
        assert (await stranger.get("events", from_=token, timeout=0))["chunk"] == []
    token = answer["end"]
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "shared"})
    with refused(403, "M_FORBIDDEN"):
        await carol.get("events", room_id=room, from_=token, timeout=0)


async def test_a_former_member_waits_for_nothing(alice, bob, room):
    await bob.leaves(room)
    token = await now(bob)
    await alice.sends(room, "secret")
    answer = await bob.get("events", room_id=room, from_=token, timeout=0)
    assert answer["chunk"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"from_": "nonsense"},
        {"from_": "s99999999"},
        {"timeout": -1},
        {"timeout": "x"},
        {"room_id": "no room"},
    ],
)
async def test_bad_queries_are_refused(alice, query):
    with refused(400, "M_INVALID_PARAM"):
        await alice.get("events", **{"timeout": 0, **query})


async def test_an_event_is_found_without_its_room(alice, bob, carol, room):
    sent = await alice.sends(room, "one")
    last = await alice.sends(room, edit(sent, "two"))
    event = await bob.get(f"events/{quoted(sent)}")
    assert (event["event_id"], event["room_id"]) == (sent, room)
    assert bundle_of(event)["m.replace"]["event_id"] == last
    with refused(404, "M_NOT_FOUND"):
        await carol.get(f"events/{quoted(sent)}")
    with refused(404, "M_NOT_FOUND"):
        await bob.get(f"events/{quoted('$unknown')}")
