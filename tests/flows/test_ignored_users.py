"""Spec: client-server-api/#ignoring-users"""

import asyncio

import pytest

from tests.support.account_data import global_account_data, ignores, sets_account_data


@pytest.fixture
async def room(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await carol.joins(room)
    return room


def texts(answer, room):
    timeline = answer.get("rooms", {}).get("join", {}).get(room, {"timeline": {"events": []}})
    return [
        event["content"]["body"]
        for event in timeline["timeline"]["events"]
        if event["type"] == "m.room.message"
    ]


async def test_messages_of_ignored_users_are_left_out(alice, bob, carol, room):
    since = (await bob.syncs())["next_batch"]
    await ignores(bob, carol)
    await carol.sends(room, "from carol")
    await alice.sends(room, "from alice")
    assert texts(await bob.syncs(since), room) == ["from alice"]
    assert texts(await bob.syncs(), room) == ["from alice"]
    assert texts(await carol.syncs(since), room) == ["from carol", "from alice"]


async def test_state_events_of_ignored_users_are_sent(bob, carol, alice, room):
    since = (await bob.syncs())["next_batch"]
    await ignores(bob, alice)
    event = await alice.sets(room, "m.room.topic", {"topic": "of alice"})
    answer = await bob.syncs(since)
    timeline = answer["rooms"]["join"][room]["timeline"]["events"]
    assert [each["event_id"] for each in timeline] == [event]


async def test_a_timeline_is_filled_with_what_others_say(alice, bob, carol, room):
    await alice.sends(room, "long ago")
    for number in range(30):
        await carol.sends(room, f"spam {number}")
    await ignores(bob, carol)
    answer = await bob.syncs(filter={"room": {"timeline": {"limit": 1}}})
    assert texts(answer, room) == ["long ago"]


async def test_invites_of_ignored_users_are_left_out(alice, bob, carol):
    since = (await bob.syncs())["next_batch"]
    await ignores(bob, carol)
    unwanted = await carol.creates_room(invite=[bob.user_id])
    wanted = await alice.creates_room(invite=[bob.user_id])
    for answer in (await bob.syncs(since), await bob.syncs()):
        assert answer["rooms"]["invite"].keys() == {wanted}
    await ignores(bob)
    assert (await bob.syncs())["rooms"]["invite"].keys() == {wanted, unwanted}


async def test_what_was_missed_is_not_sent_when_the_user_is_no_longer_ignored(
    alice, bob, carol, room
):
    await ignores(bob, carol)
    since = (await bob.syncs())["next_batch"]
    await carol.sends(room, "missed")
    since = (await bob.syncs(since))["next_batch"]
    await ignores(bob)
    await carol.sends(room, "heard")
    assert texts(await bob.syncs(since), room) == ["heard"]
    assert texts(await bob.syncs(), room) == ["missed", "heard"]


async def test_a_sync_that_waits_ignores_at_once(server, alice, bob, carol, room):
    since = (await bob.syncs())["next_batch"]
    only_messages = {"account_data": {"types": []}, "room": {"timeline": {"types": ["m.room.*"]}}}
    syncing = asyncio.ensure_future(bob.syncs(since, timeout=30_000, filter=only_messages))
    while not server.base.notifier.waiting():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0)
    await ignores(bob, carol)
    await carol.sends(room, "from carol")
    first = await syncing
    await alice.sends(room, "from alice")
    second = await bob.syncs(first["next_batch"])
    assert texts(first, room) + texts(second, room) == ["from alice"]


async def test_the_list_is_told_like_all_account_data(bob, carol):
    since = (await bob.syncs())["next_batch"]
    await ignores(bob, carol)
    told = global_account_data(await bob.syncs(since))
    assert told == {"m.ignored_user_list": {"ignored_users": {carol.user_id: {}}}}


async def test_nobody_ignores_themselves(bob, room):
    await ignores(bob, bob)
    await bob.sends(room, "hello me")
    assert texts(await bob.syncs(), room) == ["hello me"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"ignored_users": None},
        {"ignored_users": ["@carol:hs.example"]},
        {"ignored_users": "@carol:hs.example"},
        {"other": {}},
    ],
)
async def test_a_list_that_is_malformed_ignores_nobody(bob, carol, room, content):
    await ignores(bob, carol)
    await sets_account_data(bob, "m.ignored_user_list", content)
    await carol.sends(room, "hello")
    assert texts(await bob.syncs(), room) == ["hello"]


def bodies(events):
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def test_the_history_of_a_room_leaves_out_ignored_users(alice, bob, carol, room):
    await alice.sends(room, "one")
    await carol.sends(room, "two")
    event = await alice.sends(room, "three")
    await carol.sends(room, "four")
    await ignores(bob, carol)
    assert bodies((await bob.reads_messages(room))["chunk"]) == ["three", "one"]
    context = await bob.reads_context(room, event)
    assert bodies(context["events_before"]) == ["one"]
    assert bodies(context["events_after"]) == []
    assert bodies((await alice.reads_messages(room))["chunk"]) == ["four", "three", "two", "one"]


async def test_state_events_of_ignored_users_stay_in_the_history(alice, bob, room):
    event = await alice.sets(room, "m.room.topic", {"topic": "of alice"})
    await ignores(bob, alice)
    page = await bob.reads_messages(room)
    assert event in [each["event_id"] for each in page["chunk"]]
