"""Spec: client-server-api/#querying-threads-in-a-room"""

import pytest

from tests.support.client import quoted, refused
from tests.support.relations import bundle_of, edit, in_thread, reaction


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def threads(client, room, **query):
    return await client.get(f"/_matrix/client/v1/rooms/{quoted(room)}/threads", **query)


def ids(page):
    return [event["event_id"] for event in page["chunk"]]


async def ignores(client, other):
    path = f"user/{quoted(client.user_id)}/account_data/m.ignored_user_list"
    await client.put(path, {"ignored_users": {other.user_id: {}}})


async def test_threads_are_listed_by_their_newest_messages(alice, bob, room):
    assert await threads(alice, room) == {"chunk": []}
    first = await alice.sends(room, "first")
    second = await alice.sends(room, "second")
    await alice.sends(room, "no thread")
    for root in (first, second):
        await bob.sends(room, in_thread(root, "reply"))
    assert ids(await threads(alice, room)) == [second, first]
    last = await bob.sends(room, in_thread(first, "again"))
    page = await threads(alice, room)
    assert ids(page) == [first, second]
    summary = bundle_of(page["chunk"][0])["m.thread"]
    assert (summary["latest_event"]["event_id"], summary["count"]) == (last, 2)
    assert page["chunk"][0]["room_id"] == room
    # What only belongs to a thread moves it nowhere.
    await bob.sends(room, reaction(last, "+1"), "m.reaction")
    reply = await bob.sends(room, in_thread(second, "again"))
    await bob.sends(room, edit(last, "better"))
    assert ids(await threads(alice, room)) == [second, first]
    await bob.redacts(room, reply)
    assert ids(await threads(alice, room)) == [first, second]


async def test_a_thread_whose_messages_are_all_redacted_is_none(alice, room):
    root = await alice.sends(room, "root")
    reply = await alice.sends(room, in_thread(root, "reply"))
    await alice.redacts(room, reply)
    assert ids(await threads(alice, room)) == []


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
async def test_pages_have_every_thread_once(alice, room, limit):
    roots = [await alice.sends(room, str(number)) for number in range(5)]
    for root in roots:
        await alice.sends(room, in_thread(root, "reply"))
    found, token = [], None
    for _ in range(10):
        page = await threads(alice, room, from_=token, limit=limit)
        found += ids(page)
        token = page.get("next_batch")
        if token is None:
            break
    assert found == roots[::-1]


async def test_users_take_part_by_the_root_or_by_a_message(alice, bob, carol, room):
    await carol.joins(room)
    by_root = await bob.sends(room, "root")
    await alice.sends(room, in_thread(by_root, "reply"))
    by_message = await alice.sends(room, "root")
    await bob.sends(room, in_thread(by_message, "reply"))
    foreign = await alice.sends(room, "root")
    last = await alice.sends(room, in_thread(foreign, "reply"))
    await bob.sends(room, reaction(last, "+1"), "m.reaction")
    await bob.sends(room, edit(foreign, "mine"))
    assert ids(await threads(bob, room, include="participated")) == [by_message, by_root]
    assert ids(await threads(bob, room, include="all")) == [foreign, by_message, by_root]
    assert ids(await threads(carol, room, include="participated")) == []


async def test_threads_start_off_replies_and_state_but_not_off_related_events(alice, room):
    root = await alice.sends(room, "root")
    answer = {"body": "rich", "m.relates_to": {"m.in_reply_to": {"event_id": root}}}
    reply = await alice.sends(room, answer)
    topic = await alice.sets(room, "m.room.topic", {"topic": "threads"})
    for start in (reply, topic):
        await alice.sends(room, in_thread(start, "thread"))
    page = await threads(alice, room)
    assert ids(page) == [topic, reply]
    assert all(bundle_of(event)["m.thread"]["count"] == 1 for event in page["chunk"])


async def test_the_root_of_an_ignored_user_is_shown_redacted(alice, bob, carol, room):
    await carol.joins(room)
    root = await bob.sends(room, "root")
    await bob.sends(room, edit(root, "better"))
    await carol.sends(room, in_thread(root, "reply"))
    silent = await alice.sends(room, "root")
    await bob.sends(room, in_thread(silent, "reply"))
    await ignores(alice, bob)
    page = await threads(alice, room)
    assert ids(page) == [root]
    assert page["chunk"][0]["content"] == {}
    assert set(bundle_of(page["chunk"][0])) == {"m.thread"}
    assert (await threads(carol, room))["chunk"][1]["content"] == {
        "msgtype": "m.text",
        "body": "root",
    }


async def test_only_visible_threads_are_listed(alice, bob, carol):
    room = await alice.creates_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        ],
    )
    unseen = await alice.sends(room, "before bob")
    await bob.joins(room)
    root = await alice.sends(room, "root")
    half = await alice.sends(room, "half")
    await alice.sends(room, in_thread(unseen, "reply"))
    seen = await alice.sends(room, in_thread(root, "reply"))
    await bob.leaves(room)
    await alice.sends(room, in_thread(root, "secret"))
    await alice.sends(room, in_thread(half, "secret"))
    page = await threads(bob, room)
    assert ids(page) == [root]
    summary = bundle_of(page["chunk"][0])["m.thread"]
    assert (summary["latest_event"]["event_id"], summary["count"]) == (seen, 1)
    with refused(403, "M_FORBIDDEN"):
        await threads(carol, room)
    with refused(403, "M_FORBIDDEN"):
        await threads(carol, "!unknown:hs.example")


@pytest.mark.parametrize(
    "query",
    [
        {"from_": "nonsense"},
        {"from_": "t1_0"},
        {"from_": "h1_99999999999999999999"},
        {"include": "some"},
        {"limit": 0},
        {"limit": -1},
        {"limit": "many"},
    ],
)
async def test_bad_queries_are_refused(alice, room, query):
    with refused(400, "M_INVALID_PARAM"):
        await threads(alice, room, **query)
