"""Spec: client-server-api/#receipts, client-server-api/#receiving-notifications"""

import pytest

from tests.support.client import quoted, refused
from tests.support.reading import (
    BY_THREAD,
    marks_read,
    receipts_in,
    replies_in_thread,
    unread_in,
    waiting_sync,
)


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def next_batch(client):
    return (await client.syncs())["next_batch"]


async def test_a_receipt_is_told_to_everybody_in_the_room(alice, bob, room):
    since = await next_batch(alice)
    event_id = await alice.sends(room, "hello")
    await marks_read(bob, room, event_id)
    for client in (alice, bob):
        told = receipts_in(await client.syncs(since), room)
        assert list(told) == [(bob.user_id, "m.read", None)]
        assert told[(bob.user_id, "m.read", None)] == event_id


async def test_the_server_sets_the_time_of_a_receipt(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    await bob.post(f"rooms/{quoted(room)}/receipt/m.read/{quoted(event_id)}", {"ts": 5})
    ephemeral = (await alice.syncs())["rooms"]["join"][room]["ephemeral"]["events"]
    assert ephemeral[0]["content"][event_id]["m.read"][bob.user_id]["ts"] > 1_600_000_000_000


async def test_a_waiting_client_hears_of_a_receipt(server, alice, bob, room):
    event_id = await alice.sends(room, "hello")
    since = await next_batch(alice)
    async with waiting_sync(server, alice, since) as waiting:
        await marks_read(bob, room, event_id)
        assert receipts_in(await waiting, room)


async def test_a_private_receipt_wakes_nobody_else(server, alice, bob, room):
    event_id = await alice.sends(room, "hello")
    since = await next_batch(alice)
    async with waiting_sync(server, alice, since) as waiting:
        await marks_read(bob, room, event_id, "m.read.private")
        assert not waiting.done()
    async with waiting_sync(server, bob, (await bob.syncs())["next_batch"]) as waiting:
        await marks_read(bob, room, await alice.sends(room, "again"), "m.read.private")
        assert unread_in(await waiting, room)


async def test_a_new_client_is_told_all_receipts(alice, bob, room):
    first = await alice.sends(room, "one")
    second = await bob.sends(room, "two")
    await marks_read(bob, room, first)
    await marks_read(alice, room, second)
    told = receipts_in(await alice.syncs(), room)
    assert told == {
        (bob.user_id, "m.read", None): first,
        (alice.user_id, "m.read", None): second,
    }


async def test_a_client_that_was_away_for_long_is_told_what_is_new(
    server, alice, bob, room, monkeypatch
):
    first = await alice.sends(room, "one")
    await marks_read(bob, room, first, thread_id="main")
    since = await next_batch(alice)
    second = await alice.sends(room, "two")
    await marks_read(bob, room, second)
    await marks_read(bob, room, second, "m.read.private")
    tail = server.base.tail
    monkeypatch.setattr(tail, "floor", tail.position)
    told = receipts_in(await alice.syncs(since), room)
    assert told == {(bob.user_id, "m.read", None): second}


async def test_a_receipt_moves_forward_and_never_back(alice, bob, room):
    first, second = await alice.sends(room, "one"), await alice.sends(room, "two")
    await marks_read(bob, room, second)
    since = await next_batch(alice)
    await marks_read(bob, room, first)
    await marks_read(bob, room, second)
    assert "rooms" not in await alice.syncs(since)
    assert receipts_in(await alice.syncs(), room)[(bob.user_id, "m.read", None)] == second


async def test_a_private_receipt_is_not_told_to_others(alice, bob, room):
    since = await next_batch(alice)
    event_id = await alice.sends(room, "hello")
    seen = (await alice.syncs(since))["next_batch"]
    await marks_read(bob, room, event_id, "m.read.private")
    assert "rooms" not in await alice.syncs(seen)
    assert receipts_in(await alice.syncs(), room) == {}
    told = {(bob.user_id, "m.read.private", None): event_id}
    assert receipts_in(await bob.syncs(), room) == told
    assert receipts_in(await bob.syncs(since), room) == told


async def test_threads_have_receipts_of_their_own(alice, bob, room):
    root = await alice.sends(room, "root")
    reply = await replies_in_thread(alice, room, root, "reply")
    await marks_read(bob, room, reply)
    await marks_read(bob, room, root, thread_id="main")
    await marks_read(bob, room, reply, thread_id=root)
    assert receipts_in(await alice.syncs(), room) == {
        (bob.user_id, "m.read", None): reply,
        (bob.user_id, "m.read", "main"): root,
        (bob.user_id, "m.read", root): reply,
    }


async def test_a_receipt_settles_what_is_unread(alice, bob, room):
    events = [await alice.sends(room, text) for text in ("one", "two", "three")]
    assert unread_in(await bob.syncs(), room) == {"main": (3, 0)}
    since = await next_batch(bob)
    await marks_read(bob, room, events[1])
    assert unread_in(await bob.syncs(since), room) == {"main": (1, 0)}
    await marks_read(bob, room, events[2], "m.read.private")
    assert unread_in(await bob.syncs(since), room) == {"main": (0, 0)}
    assert unread_in(await bob.syncs(), room) == {"main": (0, 0)}


async def test_of_public_and_private_receipts_the_one_ahead_counts(alice, bob, room):
    events = [await alice.sends(room, text) for text in ("one", "two", "three")]
    await marks_read(bob, room, events[1], "m.read.private")
    await marks_read(bob, room, events[0])
    assert unread_in(await bob.syncs(), room) == {"main": (1, 0)}
    assert receipts_in(await alice.syncs(), room) == {(bob.user_id, "m.read", None): events[0]}
    await marks_read(bob, room, events[2])
    assert unread_in(await bob.syncs(), room) == {"main": (0, 0)}


async def test_a_client_that_wants_no_receipts_hears_of_its_counts(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    chosen = {"room": {"ephemeral": {"not_types": ["m.receipt"]}}}
    since = (await bob.syncs(filter=chosen))["next_batch"]
    await marks_read(bob, room, event_id)
    answer = await bob.syncs(since, filter=chosen)
    assert unread_in(answer, room) == {"main": (0, 0)}
    assert receipts_in(answer, room) == {}
    assert "rooms" not in await alice.syncs(since, filter=chosen)


async def test_by_sending_a_user_has_read_what_stands_before(alice, bob, room):
    await alice.sends(room, "hello")
    await bob.sends(room, "oh")
    assert unread_in(await bob.syncs(), room) == {"main": (0, 0)}
    assert unread_in(await alice.syncs(), room) == {"main": (1, 0)}


async def test_whoever_joins_has_read_what_stands_before(alice, bob, carol, room):
    await alice.sends(room, "hello")
    await carol.joins(room)
    assert unread_in(await carol.syncs(), room) == {"main": (0, 0)}
    await alice.sends(room, "hello again")
    assert unread_in(await carol.syncs(), room) == {"main": (1, 0)}


async def test_mentions_are_highlights(alice, bob, carol, room):
    await carol.joins(room)
    mention = {"user_ids": [bob.user_id], "room": True}
    event_id = await alice.sends(room, {"body": "both", "m.mentions": mention})
    assert unread_in(await bob.syncs(), room) == {"main": (1, 1)}
    assert unread_in(await carol.syncs(), room) == {"main": (1, 1)}
    await alice.redacts(room, event_id)
    assert unread_in(await bob.syncs(), room) == {"main": (0, 0)}


async def test_nobody_is_notified_of_the_own_upgrade_of_a_room(alice, bob, room):
    await alice.sets(room, "m.room.tombstone", {"body": "moved", "replacement_room": "!new:hs"})
    assert unread_in(await alice.syncs(), room) == {"main": (0, 0)}
    assert unread_in(await bob.syncs(), room) == {"main": (1, 1)}


async def test_counts_of_threads_are_told_apart_for_who_asks_for_it(alice, bob, room):
    root = await alice.sends(room, "root")
    await replies_in_thread(alice, room, root, "one")
    mention = {"body": "two", "m.mentions": {"user_ids": [bob.user_id]}}
    last = await replies_in_thread(alice, room, root, mention)
    assert unread_in(await bob.syncs(), room) == {"main": (3, 1)}
    by_thread = await bob.syncs(filter=BY_THREAD)
    assert unread_in(by_thread, room) == {"main": (1, 0), root: (2, 1)}
    await marks_read(bob, room, root, thread_id="main")
    answer = await bob.syncs(by_thread["next_batch"], filter=BY_THREAD)
    assert unread_in(answer, room) == {"main": (0, 0), root: (2, 1)}
    await marks_read(bob, room, last, thread_id=root)
    answer = await bob.syncs(by_thread["next_batch"], filter=BY_THREAD)
    assert unread_in(answer, room) == {"main": (0, 0)}


async def test_an_unthreaded_receipt_reads_all_threads(alice, bob, room):
    root = await alice.sends(room, "root")
    await replies_in_thread(alice, room, root, "reply")
    last = await alice.sends(room, "main again")
    await replies_in_thread(alice, room, root, "later reply")
    await marks_read(bob, room, last)
    assert unread_in(await bob.syncs(filter=BY_THREAD), room) == {"main": (0, 0), root: (1, 0)}


async def test_reactions_belong_to_the_thread_of_what_they_are_to(alice, bob, room):
    root = await alice.sends(room, "root")
    reply = await replies_in_thread(alice, room, root, "reply")
    annotation = {"rel_type": "m.annotation", "event_id": reply, "key": "👍"}
    reaction = await alice.sends(room, {"m.relates_to": annotation}, "m.reaction")
    await marks_read(bob, room, reaction, thread_id=root)
    assert unread_in(await bob.syncs(filter=BY_THREAD), room) == {"main": (1, 0)}
    with refused(400, "M_INVALID_PARAM"):
        await marks_read(bob, room, reaction, thread_id="main")


@pytest.mark.parametrize(
    "thread_id", ["", 5, None, ["main"], "other", "$unknown", "$" + "x" * 300, "$a\0b"], ids=repr
)
async def test_a_thread_must_be_one(alice, room, thread_id):
    event_id = await alice.sends(room, "hello")
    path = f"rooms/{quoted(room)}/receipt/m.read/{quoted(event_id)}"
    with refused(400, "M_INVALID_PARAM"):
        await alice.post(path, {"thread_id": thread_id})


async def test_the_event_must_belong_to_the_thread(alice, bob, room):
    root, other = await alice.sends(room, "root"), await alice.sends(room, "other")
    reply = await replies_in_thread(alice, room, root, "reply")
    for event_id, thread_id in ((reply, "main"), (reply, other), (other, root), (other, other)):
        with refused(400, "M_INVALID_PARAM"):
            await marks_read(bob, room, event_id, thread_id=thread_id)
    await marks_read(bob, room, root, thread_id=root)


async def test_only_members_send_receipts(alice, bob, carol, room):
    event_id = await alice.sends(room, "hello")
    with refused(403, "M_FORBIDDEN"):
        await marks_read(carol, room, event_id)
    with refused(403, "M_FORBIDDEN"):
        await marks_read(bob, "!unknown:hs.example", event_id)
    await bob.leaves(room)
    with refused(403, "M_FORBIDDEN"):
        await marks_read(bob, room, event_id)


async def test_a_receipt_needs_an_event_that_the_user_can_see(alice, bob, carol, room):
    other = await alice.creates_room(preset="public_chat")
    elsewhere = await alice.sends(other, "elsewhere")
    for event_id in (elsewhere, "$unknown"):
        with refused(404, "M_NOT_FOUND"):
            await marks_read(bob, room, event_id)
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden = await alice.sends(room, "hidden")
    await carol.joins(room)
    with refused(404, "M_NOT_FOUND"):
        await marks_read(carol, room, hidden)


@pytest.mark.parametrize("receipt_type", ["m.other", "m.read.hidden", ""])
async def test_other_types_are_refused(alice, room, receipt_type):
    event_id = await alice.sends(room, "hello")
    with refused(400, "M_INVALID_PARAM"):
        await marks_read(alice, room, event_id, receipt_type)
