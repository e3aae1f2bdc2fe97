"""Spec: client-server-api/#event-context"""

import pytest

from tests.support.client import refused


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob in which Alice has counted to ten."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


@pytest.fixture
async def numbers(alice, room):
    """The IDs of ten messages, `0` to `9`."""
    return [await alice.sends(room, f"{number}") for number in range(10)]


def bodies(events):
    return [event["content"].get("body") for event in events]


@pytest.mark.parametrize(
    ("limit", "before", "after"),
    [
        (0, [], []),
        (1, [], ["6"]),
        (2, ["4"], ["6"]),
        (5, ["4", "3"], ["6", "7", "8"]),
    ],
)
async def test_the_limit_is_shared_by_both_sides(bob, room, numbers, limit, before, after):
    context = await bob.reads_context(room, numbers[5], limit=limit)
    assert context["event"]["event_id"] == numbers[5]
    assert bodies(context["events_before"]) == before
    assert bodies(context["events_after"]) == after


@pytest.mark.parametrize("limit", [0, 1, 4, 100])
async def test_the_tokens_lead_on_in_both_directions(bob, room, numbers, limit):
    context = await bob.reads_context(room, numbers[5], limit=limit)
    older = await bob.reads_messages(room, "b", from_=context["start"], limit=100)
    newer = await bob.reads_messages(room, "f", from_=context["end"], limit=100)
    whole = [
        *reversed(older["chunk"]),
        *reversed(context["events_before"]),
        context["event"],
        *context["events_after"],
        *newer["chunk"],
    ]
    everything = await bob.reads_messages(room, "f", limit=100)
    assert [e["event_id"] for e in whole] == [e["event_id"] for e in everything["chunk"]]


async def test_the_state_is_that_after_the_last_event(alice, room):
    event_id = await alice.sends(room, "look")
    await alice.sets(room, "m.room.topic", {"topic": "first"})
    await alice.sets(room, "m.room.topic", {"topic": "second"})
    context = await alice.reads_context(room, event_id, limit=1)
    topics = [e["content"] for e in context["state"] if e["type"] == "m.room.topic"]
    assert topics == [{"topic": "first"}]
    context = await alice.reads_context(room, event_id, limit=0)
    assert all(event["type"] != "m.room.topic" for event in context["state"])
    assert any(event["type"] == "m.room.create" for event in context["state"])


async def test_the_filter_is_for_the_neighbours_and_the_state(alice, bob, room, numbers):
    await bob.sends(room, "from bob")
    wanted = {"senders": [bob.user_id], "types": ["m.room.message"]}
    context = await alice.reads_context(room, numbers[8], filter=wanted, limit=20)
    assert context["event"]["event_id"] == numbers[8]
    assert bodies(context["events_after"]) == ["from bob"]
    assert (context["events_before"], context["state"]) == ([], [])


async def test_lazy_loading_keeps_only_the_members_that_are_needed(alice, bob, carol, room):
    await carol.joins(room)
    event_id = await bob.sends(room, "from bob")
    context = await alice.reads_context(room, event_id, filter={"lazy_load_members": True}, limit=0)
    members = [e["state_key"] for e in context["state"] if e["type"] == "m.room.member"]
    assert members == [bob.user_id]
    assert any(event["type"] == "m.room.create" for event in context["state"])


async def test_nobody_sees_events_around_what_they_may_not_see(alice, bob, carol, room, numbers):
    with refused(404, "M_NOT_FOUND"):
        await carol.reads_context(room, numbers[5])
    await bob.leaves(room)
    late = await alice.sends(room, "after bob")
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_context(room, late)
    context = await bob.reads_context(room, numbers[9], limit=10)
    assert "after bob" not in bodies(context["events_after"])
