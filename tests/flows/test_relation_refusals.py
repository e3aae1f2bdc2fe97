"""What clients may not send because of the event that it relates to."""

import asyncio

import pytest

from tests.support.client import answer_of, refused
from tests.support.relations import bundle_of, edit, in_thread, reaction, reference, relating


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


# client-server-api/#avoiding-duplicate-annotations


async def test_nobody_annotates_an_event_twice_alike(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    first = await alice.sends(room, reaction(event_id, "👍"), "m.reaction")
    with refused(400, "M_DUPLICATE_ANNOTATION"):
        await alice.sends(room, reaction(event_id, "👍"), "m.reaction")
    # Another key, event, type, user.
    other = await alice.sends(room, "other")
    await alice.sends(room, reaction(event_id, "👎"), "m.reaction")
    await alice.sends(room, reaction(other, "👍"), "m.reaction")
    await alice.sends(room, reaction(event_id, "👍"), "org.example.vote")
    await bob.sends(room, reaction(event_id, "👍"), "m.reaction")
    await alice.redacts(room, first)
    await alice.sends(room, reaction(event_id, "👍"), "m.reaction")
    with refused(400, "M_DUPLICATE_ANNOTATION"):
        await alice.sends(room, reaction(event_id, "👍"), "m.reaction")


async def test_a_repeated_request_is_no_second_annotation(alice, room):
    event_id = await alice.sends(room, "hello")
    sent = [
        await alice.sends(room, reaction(event_id, "+1"), "m.reaction", txn_id="same")
        for _ in range(2)
    ]
    assert sent[0] == sent[1]


async def test_of_annotations_sent_at_once_one_is_taken(alice, room):
    event_id = await alice.sends(room, "hello")
    answers = await asyncio.gather(
        *(answer_of(alice.sends(room, reaction(event_id, "+1"), "m.reaction")) for _ in range(6))
    )
    assert sorted(answers, key=str) == [(400, "M_DUPLICATE_ANNOTATION")] * 5 + [200]


@pytest.mark.parametrize("more", [{}, {"key": 1}, {"key": None}, {"key": "+\0"}])
async def test_annotations_without_a_proper_key_are_never_duplicates(alice, room, more):
    event_id = await alice.sends(room, "hello")
    for _ in range(2):
        await alice.sends(room, relating("m.annotation", event_id, **more), "m.reaction")


# client-server-api/#validation-of-mthread-relationships


async def test_no_thread_starts_off_an_event_that_relates_to_another(alice, bob, room):
    root = await alice.sends(room, "root")
    related = [
        await alice.sends(room, in_thread(root, "reply")),
        await alice.sends(room, edit(root, "better")),
        await alice.sends(room, reference(root)),
        await alice.sends(room, reaction(root, "+1"), "m.reaction"),
        await alice.sends(room, relating("org.example.own", root)),
    ]
    for event_id in related:
        with refused(400, "M_UNKNOWN"):
            await bob.sends(room, in_thread(event_id, "nested"))
    await bob.sends(room, in_thread(root, "fine"))


async def test_a_thread_on_an_event_of_another_room_is_none(alice, room):
    other = await alice.creates_room()
    root = await alice.sends(other, "root")
    await alice.sends(room, in_thread(root, "reply"))
    assert bundle_of(await alice.reads_event(other, root)) == {}


async def test_strangers_are_not_told_what_is_in_a_room(alice, carol, room):
    root = await alice.sends(room, "root")
    child = await alice.sends(room, reference(root))
    await alice.sends(room, reaction(root, "+1"), "m.reaction")
    with refused(403, "M_FORBIDDEN"):
        await carol.sends(room, in_thread(child, "nested"))
    with refused(403, "M_FORBIDDEN"):
        await carol.sends(room, reaction(root, "+1"), "m.reaction")
