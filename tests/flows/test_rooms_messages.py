"""Spec: client-server-api/#get_matrixclientv3roomsroomidmessages"""

import pytest

from tests.support.client import refused


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


def bodies(page):
    return [event["content"]["body"] for event in page["chunk"] if "body" in event["content"]]


async def all_pages(client, room, direction, **query):
    """Follow the tokens to the end; return the events."""
    events, token = [], None
    for _ in range(100):
        page = await client.reads_messages(room, direction, from_=token, **query)
        events += page["chunk"]
        if token is not None:
            assert page["start"] == token
        token = page.get("end")
        if token is None:
            return events
    raise AssertionError("the pages do not end")


async def test_history_is_read_backwards_and_forwards(alice, bob, room):
    for number in range(5):
        await alice.sends(room, f"m{number}")
    assert bodies(await bob.reads_messages(room, "b", limit=3)) == ["m4", "m3", "m2"]
    page = await bob.reads_messages(room, "f", limit=2)
    assert [event["type"] for event in page["chunk"]] == ["m.room.create", "m.room.member"]


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_pages_have_every_event_once_in_both_directions(alice, bob, room, limit):
    sent = [await alice.sends(room, f"m{number}") for number in range(12)]
    backwards = [e["event_id"] for e in await all_pages(bob, room, "b", limit=limit)]
    forwards = [e["event_id"] for e in await all_pages(bob, room, "f", limit=limit)]
    assert backwards == forwards[::-1]
    assert len(set(forwards)) == len(forwards)
    assert forwards[-12:] == sent


async def test_the_start_is_the_token_that_was_given(alice, room):
    token = (await alice.syncs())["next_batch"]
    await alice.sends(room, "later")
    page = await alice.reads_messages(room, "f", from_=token)
    assert page["start"] == token
    assert bodies(page) == ["later"]


async def test_pages_stop_at_the_token_where_they_are_to_stop(alice, room):
    await alice.sends(room, "one")
    first = (await alice.syncs())["next_batch"]
    await alice.sends(room, "two")
    await alice.sends(room, "three")
    second = (await alice.syncs())["next_batch"]
    await alice.sends(room, "four")
    assert bodies(await alice.reads_messages(room, "f", from_=first, to=second)) == ["two", "three"]
    assert bodies(await alice.reads_messages(room, "b", from_=second, to=first)) == ["three", "two"]


async def test_a_gap_of_sync_is_filled_from_its_token(alice, bob, room):
    since = (await bob.syncs())["next_batch"]
    for number in range(15):
        await alice.sends(room, f"m{number}")
    timeline = (await bob.syncs(since))["rooms"]["join"][room]["timeline"]
    assert timeline["limited"]
    shown = bodies({"chunk": timeline["events"]})
    page = await bob.reads_messages(room, "b", from_=timeline["prev_batch"], to=since, limit=100)
    assert bodies(page)[::-1] + shown == [f"m{number}" for number in range(15)]


async def test_a_limit_of_none_returns_nothing_and_goes_on_from_there(alice, room):
    await alice.sends(room, "hello")
    token = (await alice.syncs())["next_batch"]
    page = await alice.reads_messages(room, "b", limit=0, from_=token)
    assert page["chunk"] == []
    assert bodies(await alice.reads_messages(room, "b", limit=1, from_=page["end"])) == ["hello"]


async def test_the_default_is_ten_events_and_the_filter_may_have_a_limit(alice, room):
    for number in range(12):
        await alice.sends(room, f"m{number}")
    assert len((await alice.reads_messages(room))["chunk"]) == 10
    assert len((await alice.reads_messages(room, filter={"limit": 4}))["chunk"]) == 4
    assert len((await alice.reads_messages(room, limit=2, filter={"limit": 4}))["chunk"]) == 2


async def test_filters_choose_by_type_sender_and_content(alice, bob, room):
    await alice.sends(room, "text")
    await alice.sends(room, {"body": "picture", "url": "mxc://hs.example/p"})
    await alice.sends(room, {"body": "file", "file": {"url": "mxc://hs.example/f"}})
    await bob.sends(room, "from bob")
    await bob.sends(room, {"body": "odd"}, "m.odd")

    async def chosen(**wanted):
        return sorted(bodies(await alice.reads_messages(room, filter=wanted, limit=50)))

    assert await chosen(types=["m.room.message"]) == ["file", "from bob", "picture", "text"]
    assert await chosen(types=["m.o*"]) == ["odd"]
    assert await chosen(not_types=["m.room.*"]) == ["odd"]
    assert await chosen(senders=[bob.user_id]) == ["from bob", "odd"]
    assert await chosen(not_senders=[bob.user_id]) == ["file", "picture", "text"]
    assert await chosen(contains_url=True) == ["picture"]
    assert await chosen(contains_url=False) == ["file", "from bob", "odd", "text"]
    assert await chosen(rooms=[room], types=["m.odd"]) == ["odd"]
    assert await chosen(not_rooms=[room]) == []
    assert await chosen(types=[]) == []


async def test_a_filter_that_lets_little_through_still_ends(alice, room):
    needle = await alice.sends(room, {"body": "needle"}, "m.needle")
    for number in range(60):
        await alice.sends(room, f"hay {number}")
    events = await all_pages(alice, room, "b", limit=1, filter={"types": ["m.needle"]})
    assert [event["event_id"] for event in events] == [needle]


async def test_filters_choose_by_relations(alice, bob, room):
    thread = await alice.sends(room, "thread")
    liked = await alice.sends(room, "liked")
    await alice.sends(room, "lonely")
    await bob.sends(
        room,
        {"body": "reply", "m.relates_to": {"rel_type": "m.thread", "event_id": thread}},
    )
    await bob.sends(
        room,
        {"m.relates_to": {"rel_type": "m.annotation", "event_id": liked, "key": "+1"}},
        "m.reaction",
    )

    async def chosen(**wanted):
        events = await all_pages(alice, room, "b", limit=1, filter=wanted)
        return sorted(bodies({"chunk": events}))

    assert await chosen(related_by_rel_types=["m.thread"]) == ["thread"]
    assert await chosen(related_by_senders=[bob.user_id]) == ["liked", "thread"]
    assert await chosen(related_by_senders=[alice.user_id]) == []
    assert await chosen(
        related_by_senders=[bob.user_id], related_by_rel_types=["m.annotation"]
    ) == ["liked"]
    assert await chosen(**{"org.matrix.msc3874.rel_types": ["m.thread"]}) == ["reply"]


async def test_lazy_loading_adds_the_members_that_the_page_needs(alice, bob, carol, room):
    await carol.joins(room)
    await bob.sends(room, "from bob")
    wanted = {"lazy_load_members": True, "types": ["m.room.message"]}
    page = await alice.reads_messages(room, filter=wanted)
    assert [(event["type"], event["state_key"]) for event in page["state"]] == [
        ("m.room.member", bob.user_id)
    ]
    assert "state" not in await alice.reads_messages(room)


async def test_former_members_read_up_to_where_they_left(alice, bob, room):
    await alice.sends(room, "before")
    await bob.leaves(room)
    await alice.sends(room, "after")
    page = await bob.reads_messages(room, "b")
    assert page["chunk"][0]["content"]["membership"] == "leave"
    assert bodies(page) == ["before"]
    now = (await alice.syncs())["next_batch"]
    assert bodies(await bob.reads_messages(room, "b", from_=now)) == ["before"]
    assert (await bob.reads_messages(room, "f", from_=now))["chunk"] == []


async def test_strangers_read_only_what_is_world_readable(alice, carol, room):
    await alice.sends(room, "private")
    with refused(403, "M_FORBIDDEN"):
        await carol.reads_messages(room)
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    await alice.sends(room, "public")
    assert bodies(await carol.reads_messages(room)) == ["public"]
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "shared"})
    with refused(403, "M_FORBIDDEN"):
        await carol.reads_messages(room)
