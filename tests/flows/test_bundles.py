"""Spec: client-server-api/#aggregations-of-child-events"""

import contextlib

import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.web.requester import Requester
from tests.support.client import quoted
from tests.support.relations import bundle_of, edit, in_thread, reaction, reference, relating

V1 = "/_matrix/client/v1"


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def bundle(client, room, event_id):
    return bundle_of(await client.reads_event(room, event_id))


async def latest_text(client, room, event_id):
    """Return the text of the newest edit, None without one."""
    found = (await bundle(client, room, event_id)).get("m.replace")
    return found["content"]["m.new_content"]["body"] if found else None


async def ignores(client, *others):
    users = {other.user_id: {} for other in others}
    path = f"user/{quoted(client.user_id)}/account_data/m.ignored_user_list"
    await client.put(path, {"ignored_users": users})


# Edits


async def test_the_newest_edit_is_bundled_and_the_content_left_as_it_is(alice, bob, room):
    sent = await alice.sends(room, "frist")
    await alice.sends(room, edit(sent, "first?"))
    last = await alice.sends(room, edit(sent, "first"))
    event = await bob.reads_event(room, sent)
    assert event["content"]["body"] == "frist"
    found = bundle_of(event)["m.replace"]
    assert (found["event_id"], found["room_id"]) == (last, room)
    assert found["content"] == edit(sent, "first")
    assert found["unsigned"]["membership"] == "join"
    assert bundle_of(await bob.reads_event(room, last)) == {}


@pytest.mark.parametrize(
    ("times", "newest"), [([3, 1, 2], 0), ([1, 2, 2], None), ([5, 5, 5], None)]
)
async def test_the_newest_edit_is_so_by_its_time_and_then_by_its_id(
    alice, room, server, times, newest
):
    sent = await alice.sends(room, "one")
    requester = Requester(user_id=UserID(alice.user_id))
    edits = [
        await server.rooms.send.message(
            requester, room, "m.room.message", f"e{n}", edit(sent, str(n)), origin_server_ts=ts
        )
        for n, ts in enumerate(times)
    ]
    expected = max(zip(times, edits, strict=True))[1]
    assert newest is None or expected == edits[newest]
    assert (await bundle(alice, room, sent))["m.replace"]["event_id"] == expected


async def test_a_redacted_edit_is_bundled_no_more(alice, room):
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    last = await alice.sends(room, edit(sent, "three"))
    await alice.redacts(room, last)
    assert await latest_text(alice, room, sent) == "two"


async def test_edits_of_a_redacted_event_are_not_bundled(alice, room):
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    await alice.redacts(room, sent)
    assert await bundle(alice, room, sent) == {}


async def test_invalid_edits_are_accepted_and_ignored(alice, bob, room):
    sent = await alice.sends(room, "mine")
    corrected = await alice.sends(room, edit(sent, "still mine"))
    await bob.sends(room, edit(sent, "bob's"))
    await alice.sends(room, edit(sent, "other type"), "org.example.message")
    await alice.sends(room, {"body": "* nothing new", **relating("m.replace", sent)})
    await alice.sends(room, {"body": "*", "m.new_content": "text", **relating("m.replace", sent)})
    assert await latest_text(bob, room, sent) == "still mine"
    await alice.sends(room, edit(corrected, "an edit of an edit"))
    assert await bundle(bob, room, corrected) == {}


async def test_state_events_are_not_edited(alice, room):
    topic = await alice.sets(room, "m.room.topic", {"topic": "one"})
    await alice.sends(room, edit(topic, "two"), "m.room.topic")
    assert await bundle(alice, room, topic) == {}


async def test_edits_of_encrypted_events_need_no_readable_content(alice, room):
    sent = await alice.sends(room, {"ciphertext": "x"}, "m.room.encrypted")
    last = await alice.sends(
        room, {"ciphertext": "y", **relating("m.replace", sent)}, "m.room.encrypted"
    )
    assert (await bundle(alice, room, sent))["m.replace"]["event_id"] == last


# References and annotations


async def test_references_are_listed_and_annotations_are_not(alice, bob, room):
    sent = await alice.sends(room, "poll")
    await bob.sends(room, reaction(sent, "+1"), "m.reaction")
    assert await bundle(alice, room, sent) == {}
    votes = [await bob.sends(room, reference(sent)), await alice.sends(room, reference(sent))]
    chunk = [{"event_id": event_id} for event_id in votes]
    assert await bundle(alice, room, sent) == {"m.reference": {"chunk": chunk}}
    await bob.redacts(room, votes[0])
    assert await bundle(alice, room, sent) == {"m.reference": {"chunk": chunk[1:]}}


async def test_references_to_a_redacted_event_remain(alice, bob, room):
    sent = await alice.sends(room, "poll")
    vote = await bob.sends(room, reference(sent))
    await alice.redacts(room, sent)
    assert (await bundle(alice, room, sent))["m.reference"]["chunk"] == [{"event_id": vote}]


# Threads


async def test_a_thread_is_summed_up_with_its_root(alice, bob, carol, room):
    await carol.joins(room)
    root = await bob.sends(room, "root")
    await alice.sends(room, in_thread(root, "one"))
    last = await alice.sends(room, in_thread(root, "two"))
    corrected = await alice.sends(room, edit(last, "2"))
    thread = (await bundle(carol, room, root))["m.thread"]
    assert (thread["count"], thread["current_user_participated"]) == (2, False)
    latest = thread["latest_event"]
    assert (latest["event_id"], latest["room_id"]) == (last, room)
    assert bundle_of(latest)["m.replace"]["event_id"] == corrected
    for participant in (alice, bob):
        summary = (await bundle(participant, room, root))["m.thread"]
        assert summary["current_user_participated"] is True


async def test_the_redaction_of_thread_messages_turns_the_thread_back(alice, bob, room):
    root = await bob.sends(room, "root")
    messages = [await alice.sends(room, in_thread(root, str(number))) for number in range(3)]

    async def summary():
        thread = (await bundle(alice, room, root)).get("m.thread")
        return thread and (thread["latest_event"]["event_id"], thread["count"])

    liked = await alice.sends(room, reaction(messages[0], "+1"), "m.reaction")
    assert await summary() == (messages[2], 3)
    await alice.redacts(room, liked)
    assert await summary() == (messages[2], 3)
    await alice.redacts(room, messages[2])
    assert await summary() == (messages[1], 2)
    await alice.redacts(room, messages[0])
    assert await summary() == (messages[1], 1)
    await alice.redacts(room, messages[1])
    assert await summary() is None
    again = await alice.sends(room, in_thread(root, "again"))
    assert await summary() == (again, 1)


async def test_the_thread_of_a_redacted_root_remains(alice, bob, room):
    root = await bob.sends(room, "root")
    reply = await alice.sends(room, in_thread(root, "reply"))
    await bob.redacts(room, root)
    thread = (await bundle(alice, room, root))["m.thread"]
    assert thread["latest_event"]["event_id"] == reply


# Who sees what


async def test_ignored_users_do_not_appear(alice, bob, carol, room):
    await carol.joins(room)
    root = await alice.sends(room, "root")
    reply = await carol.sends(room, in_thread(root, "carol"))
    await bob.sends(room, in_thread(root, "bob"))
    shown = await carol.sends(room, reference(root))
    await bob.sends(room, reference(root))
    theirs = await bob.sends(room, "bob")
    await bob.sends(room, edit(theirs, "bob again"))
    await ignores(alice, bob)
    found = await bundle(alice, room, root)
    assert found["m.thread"]["latest_event"]["event_id"] == reply
    assert found["m.thread"]["count"] == 1
    assert found["m.reference"]["chunk"] == [{"event_id": shown}]
    assert await bundle(alice, room, theirs) == {}
    await ignores(alice, bob, carol)
    assert await bundle(alice, room, root) == {}
    assert (await bundle(carol, room, root))["m.thread"]["count"] == 2


async def test_children_that_the_reader_may_not_see_do_not_count(alice, bob, room):
    root = await alice.sends(room, "root")
    reply = await alice.sends(room, in_thread(root, "seen"))
    await alice.sends(room, edit(root, "seen"))
    await bob.leaves(room)
    await alice.sends(room, in_thread(root, "secret"))
    await alice.sends(room, edit(root, "secret"))
    await alice.sends(room, reference(root))
    found = await bundle(bob, room, root)
    assert set(found) == {"m.replace", "m.thread"}
    assert await latest_text(bob, room, root) == "seen"
    assert found["m.thread"]["latest_event"]["event_id"] == reply
    assert found["m.thread"]["count"] == 1
    await bob.joins(room)
    assert (await bundle(bob, room, root))["m.thread"]["count"] == 2


# Where


async def test_every_way_to_the_history_has_bundles(alice, bob, room):
    root = await alice.sends(room, "root")
    sent = await alice.sends(room, reference(root))
    await alice.sends(room, in_thread(root, "reply"))
    await alice.sends(room, edit(sent, "better"))
    await alice.sends(room, "and on")

    def texts(events):
        return {
            event["event_id"]: bundle_of(event)["m.replace"]["content"]["m.new_content"]["body"]
            for event in events
            if "m.replace" in bundle_of(event)
        }

    expected = {sent: "better"}
    assert texts((await bob.reads_messages(room, "b"))["chunk"]) == expected
    assert texts((await bob.reads_messages(room, "f"))["chunk"]) == expected
    assert texts([(await bob.reads_context(room, sent))["event"]]) == expected
    assert texts((await bob.reads_context(room, root))["events_after"]) == expected
    path = f"{V1}/rooms/{quoted(room)}/relations/{quoted(root)}"
    assert texts((await bob.get(path))["chunk"]) == expected


async def test_a_limited_timeline_has_bundles_and_another_has_the_children(alice, bob, room):
    since = (await bob.syncs())["next_batch"]
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    timeline = await timeline_of(bob, room, since)
    assert not timeline["limited"]
    assert [bundle_of(event) for event in timeline["events"]] == [{}, {}]
    wanted = {"room": {"timeline": {"limit": 2}}}
    await alice.redacts(room, await alice.sends(room, "filler"))
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    for query in ({"since": since}, {}):
        timeline = await timeline_of(bob, room, **query, filter=wanted)
        assert timeline["limited"]
        shown = timeline["events"][0]
        assert shown["event_id"] == sent
        found = bundle_of(shown)["m.replace"]
        assert found["content"]["m.new_content"]["body"] == "two"
        assert "room_id" not in found


async def test_the_fields_of_a_filter_choose_among_bundles(alice, room):
    since = (await alice.syncs())["next_batch"]
    await alice.sends(room, "filler")
    sent = await alice.sends(room, "one")
    last = await alice.sends(room, edit(sent, "two"))
    wanted = {
        "event_fields": ["event_id", "unsigned.m\\.relations.m\\.replace.event_id"],
        "room": {"timeline": {"limit": 2}},
    }
    timeline = await timeline_of(alice, room, since, filter=wanted)
    assert timeline["events"] == [
        {"event_id": sent, "unsigned": {"m.relations": {"m.replace": {"event_id": last}}}},
        {"event_id": last},
    ]


async def test_the_bundles_of_a_room_left_end_where_the_user_left(alice, bob, room):
    since = (await bob.syncs())["next_batch"]
    for number in range(10):
        await alice.sends(room, str(number))
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    await bob.leaves(room)
    await alice.sends(room, edit(sent, "secret"))
    answer = await bob.syncs(since)
    timeline = answer["rooms"]["leave"][room]["timeline"]
    assert timeline["limited"]
    texts = [
        bundle_of(event)["m.replace"]["content"]["m.new_content"]["body"]
        for event in timeline["events"]
        if "m.replace" in bundle_of(event)
    ]
    assert texts == ["two"]


async def test_a_timeline_that_begins_before_the_join_has_bundles(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    await bob.joins(room)
    wanted = {"room": {"timeline": {"limit": 3}}}
    timeline = await timeline_of(bob, room, filter=wanted)
    assert timeline["limited"]
    assert bundle_of(timeline["events"][0])["m.replace"]["unsigned"]["membership"] == "leave"


async def timeline_of(client, room, since=None, **query):
    return (await client.syncs(since, **query))["rooms"]["join"][room]["timeline"]


# What it costs


@contextlib.contextmanager
def operations(database, monkeypatch):
    """Collect the names of what asks the database."""
    names = []
    connection = database.connection

    def observed(operation="other"):
        names.append(operation)
        return connection(operation)

    with monkeypatch.context() as patch:
        patch.setattr(database, "connection", observed)
        yield names


async def test_events_without_children_cost_no_statement(alice, room, server, monkeypatch):
    for number in range(12):
        await alice.sends(room, str(number))
    with operations(server.base.database, monkeypatch) as names:
        await alice.reads_messages(room)
        await alice.syncs()
    assert "timeline" in names
    assert "aggregations" not in names


async def test_children_cost_two_statements_a_page(alice, room, server, monkeypatch):
    for number in range(3):
        sent = await alice.sends(room, str(number))
        await alice.sends(room, edit(sent, "better"))
        await alice.sends(room, in_thread(sent, "reply"))
    with operations(server.base.database, monkeypatch) as names:
        await alice.reads_messages(room)
    assert names.count("aggregations") == 1


async def test_an_unlimited_sync_from_the_tail_costs_no_statement(
    alice, bob, room, server, monkeypatch
):
    await bob.syncs()
    since = (await bob.syncs())["next_batch"]
    sent = await alice.sends(room, "one")
    await alice.sends(room, edit(sent, "two"))
    with operations(server.base.database, monkeypatch) as names:
        await bob.syncs(since)
    assert names == []
