"""Pages, groups, surroundings and state of results. Spec: client-server-api/#server-side-search"""

import pytest

from tests.support.client import quoted, refused
from tests.support.search import finds, indexed, search, texts

GROUPS = {"group_by": [{"key": "room_id"}, {"key": "sender"}]}


@pytest.fixture
async def rooms(alice, bob):
    """Two rooms in which Alice and Bob count: Alice says the even numbers."""
    rooms = [await alice.creates_room(preset="public_chat", name=f"n{n}") for n in range(2)]
    for room in rooms:
        await bob.joins(room)
    for number in range(12):
        client = (alice, bob)[number % 2]
        await client.sends(rooms[number % 3 == 0], f"number {number}")
    await indexed(alice, rooms[0])
    return rooms


def numbers(results):
    return [int(text.split()[1]) for text in texts(results)]


@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_pages_tell_everything_once(alice, rooms, order):
    told, token = [], None
    for _ in range(10):
        page = await search(alice, "number", order_by=order, filter={"limit": 5}, next_batch=token)
        assert page["count"] == 12
        told += numbers(page)
        token = page.get("next_batch")
        if token is None:
            break
    assert told == list(range(12))[::-1]


async def test_what_is_written_between_two_pages_moves_nothing(alice, bob, rooms):
    first = await search(alice, "number", order_by="recent", filter={"limit": 4})
    await bob.sends(rooms[0], "number 12")
    await indexed(alice, rooms[0])
    second = await search(
        alice, "number", order_by="recent", filter={"limit": 4}, next_batch=first["next_batch"]
    )
    assert numbers(first) + numbers(second) == [11, 10, 9, 8, 7, 6, 5, 4]


async def test_a_filter_that_leaves_little_is_paged_through(alice, rooms):
    for number in range(3):
        content = {"msgtype": "m.file", "body": f"number {number}", "url": "mxc://a/b"}
        await alice.sends(rooms[0], content)
    await alice.sends(rooms[0], "number 99")
    await indexed(alice, rooms[0])
    chosen = {"contains_url": True, "limit": 2}
    first = await search(alice, "number", order_by="recent", filter=chosen)
    second = await search(
        alice, "number", order_by="recent", filter=chosen, next_batch=first["next_batch"]
    )
    assert (numbers(first), numbers(second)) == ([2, 1], [0])


async def test_a_limit_of_nothing_counts(alice, rooms):
    found = await search(alice, "number", filter={"limit": 0})
    assert (found["results"], found["count"]) == ([], 12)
    assert "next_batch" not in found


async def test_results_are_grouped_by_room_and_by_sender(alice, bob, rooms):
    found = await search(alice, "number", order_by="recent", filter={"limit": 5}, groupings=GROUPS)
    events = {r["result"]["event_id"]: r["result"] for r in found["results"]}
    assert numbers(found) == [11, 10, 9, 8, 7]
    assert set(found["groups"]) == {"room_id", "sender"}
    for key, groups in found["groups"].items():
        members = [event_id for group in groups.values() for event_id in group["results"]]
        assert sorted(members) == sorted(events)
        for value, group in groups.items():
            assert {events[event_id][key] for event_id in group["results"]} == {value}
    assert found["groups"]["room_id"][rooms[0]]["order"] == 1
    assert found["groups"]["room_id"][rooms[1]]["order"] == 2


@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_a_group_goes_on_by_itself(alice, bob, rooms, order):
    criteria = {"order_by": order, "filter": {"limit": 5}, "groupings": GROUPS}
    found = await search(alice, "number", **criteria)
    for key, value, expected in (
        ("room_id", rooms[0], [5, 4, 2, 1]),
        ("room_id", rooms[1], [6, 3, 0]),
        ("sender", alice.user_id, [6, 4, 2, 0]),
        ("sender", bob.user_id, [5, 3, 1]),
    ):
        token = found["groups"][key][value]["next_batch"]
        rest = await search(alice, "number", **criteria, next_batch=token)
        assert numbers(rest) == expected
        assert list(rest["groups"][key]) == [value]
        assert "next_batch" not in rest
        assert "next_batch" not in rest["groups"][key][value]


async def test_the_token_of_a_group_needs_its_grouping(alice, rooms):
    found = await search(alice, "number", filter={"limit": 1}, groupings=GROUPS)
    token = found["groups"]["room_id"][rooms[0]]["next_batch"]
    with refused(400, "M_INVALID_PARAM"):
        await search(alice, "number", filter={"limit": 1}, next_batch=token)


# Surroundings


async def test_results_come_with_what_surrounds_them(alice, bob, rooms):
    sent = [await alice.sends(rooms[0], f"line {n}") for n in range(20)]
    await indexed(alice, rooms[0])
    [result] = (await search(bob, '"line 10"', event_context={}))["results"]
    context = result["context"]
    before = [event["event_id"] for event in context["events_before"]]
    after = [event["event_id"] for event in context["events_after"]]
    assert before == sent[9:4:-1]
    assert after == sent[11:16]
    assert "profile_info" not in context
    older = await bob.reads_messages(rooms[0], "b", from_=context["start"], limit=1)
    newer = await bob.reads_messages(rooms[0], "f", from_=context["end"], limit=1)
    assert older["chunk"][0]["event_id"] == sent[4]
    assert newer["chunk"][0]["event_id"] == sent[16]
    limits = {"before_limit": 1, "after_limit": 0}
    [result] = (await search(bob, '"line 10"', event_context=limits))["results"]
    context = result["context"]
    assert [event["event_id"] for event in context["events_before"]] == [sent[9]]
    assert context["events_after"] == []


async def test_profiles_are_those_of_the_time(alice, bob, rooms):
    def member(name):
        return {"membership": "join", "displayname": name}

    await bob.sets(rooms[0], "m.room.member", member("Bobby"), bob.user_id)
    await bob.sends(rooms[0], "treasure")
    await bob.sets(rooms[0], "m.room.member", member("Robert"), bob.user_id)
    await indexed(alice, rooms[0])
    wanted = {"before_limit": 0, "after_limit": 0, "include_profile": True}
    [result] = (await search(alice, "treasure", event_context=wanted))["results"]
    assert result["context"]["profile_info"] == {bob.user_id: {"displayname": "Bobby"}}


# State


async def test_the_state_of_the_rooms_of_the_results_is_included(alice, bob, rooms):
    await alice.sends(rooms[1], "treasure")
    await indexed(alice, rooms[1])
    found = await search(alice, "treasure", include_state=True)
    assert list(found["state"]) == [rooms[1]]
    expected = await alice.get(f"rooms/{quoted(rooms[1])}/state")
    ids = {event["event_id"] for event in found["state"][rooms[1]]}
    assert ids == {event["event_id"] for event in expected}
    lazy = {"lazy_load_members": True}
    found = await search(alice, "treasure", include_state=True, filter=lazy)
    state = found["state"][rooms[1]]
    members = [e["state_key"] for e in state if e["type"] == "m.room.member"]
    assert members == [alice.user_id]
    assert len(state) == len(expected) - 1


async def test_who_left_gets_the_state_of_then(alice, bob, rooms):
    await bob.sends(rooms[0], "treasure")
    await bob.leaves(rooms[0])
    await alice.sets(rooms[0], "m.room.name", {"name": "later"})
    await indexed(alice, rooms[0])
    found = await search(bob, "treasure", include_state=True)
    names = [e["content"] for e in found["state"][rooms[0]] if e["type"] == "m.room.name"]
    assert names == [{"name": "n0"}]
    assert await finds(bob, "later") == []
