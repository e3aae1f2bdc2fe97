"""Spec: client-server-api/#sending-events-to-a-room, client-server-api/#redactions"""

import asyncio

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.support.client import quoted, refused


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def test_a_message_reaches_the_others_in_the_room(alice, bob, room):
    event_id = await alice.sends(room, "hello")
    event = await bob.reads_event(room, event_id)
    assert event["content"] == {"msgtype": "m.text", "body": "hello"}
    assert (event["sender"], event["type"]) == (alice.user_id, "m.room.message")
    assert (event["room_id"], event["event_id"]) == (room, event_id)
    assert event["unsigned"]["membership"] == "join"
    assert "transaction_id" not in event["unsigned"]


async def test_a_request_that_is_repeated_sends_one_event(alice, bob, room):
    first = await alice.sends(room, "once", txn_id="t1")
    assert await alice.sends(room, "once", txn_id="t1") == first
    together = await asyncio.gather(*(alice.sends(room, "two", txn_id="t2") for _ in range(5)))
    assert len(set(together)) == 1
    assert first not in together
    assert await bob.sends(room, "mine", txn_id="t1") != first
    event = await alice.reads_event(room, first)
    assert event["unsigned"]["transaction_id"] == "t1"


async def test_a_transaction_id_belongs_to_a_room_and_an_event_type(alice, room):
    other = await alice.creates_room()
    sent = {
        await alice.sends(room, "a", txn_id="t"),
        await alice.sends(other, "a", txn_id="t"),
        await alice.sends(room, {"body": "a"}, "m.other", txn_id="t"),
    }
    assert len(sent) == 3


async def test_types_and_transaction_ids_may_contain_slashes(alice, room):
    event_id = await alice.sends(room, {"a": 1}, "org.example/some type", txn_id="a/b c%20d")
    event = await alice.reads_event(room, event_id)
    assert event["type"] == "org.example/some type"
    assert event["unsigned"]["transaction_id"] == "a/b c%20d"


async def test_who_is_not_in_the_room_cannot_send(alice, bob, carol, room):
    with refused(403, "M_FORBIDDEN"):
        await carol.sends(room, "hello")
    await bob.leaves(room)
    with refused(403, "M_FORBIDDEN"):
        await bob.sends(room, "hello again")


async def test_power_levels_say_who_may_send_what(alice, bob, room):
    levels = await alice.reads_state(room, "m.room.power_levels")
    levels["events"]["m.room.message"] = 20
    await alice.sets(room, "m.room.power_levels", levels)
    with refused(403, "M_FORBIDDEN"):
        await bob.sends(room, "hello")
    await bob.sends(room, {}, "m.other")


async def test_an_event_that_is_too_large_is_refused(alice, room):
    with refused(413, "M_TOO_LARGE"):
        await alice.sends(room, "x" * 66_000)
    with refused(413, "M_TOO_LARGE"):
        await alice.sends(room, {}, "m." + "x" * 255)


async def test_only_application_services_set_the_time(alice, room):
    path = f"rooms/{quoted(room)}/send/m.room.message"
    sent = await alice.put(f"{path}/1", {"body": "a"}, ts=1_000)
    event = await alice.reads_event(room, sent["event_id"])
    assert event["origin_server_ts"] > 1_600_000_000_000
    await alice.put(f"{path}/2", {"body": "a"}, ts="rubbish")


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_redaction_strips_the_event_in_every_room_version(alice, bob, version):
    room = await alice.creates_room(preset="public_chat", room_version=version)
    await bob.joins(room)
    event_id = await bob.sends(room, "embarrassing")
    redaction_id = await alice.redacts(room, event_id, reason="rude")
    event = await bob.reads_event(room, event_id)
    assert event["content"] == {}
    because = event["unsigned"]["redacted_because"]
    assert (because["event_id"], because["content"]["reason"]) == (redaction_id, "rude")
    assert because["redacts"] == because["content"]["redacts"] == event_id


@pytest.mark.parametrize("version", ["10", "11"])
async def test_a_redaction_may_be_sent_as_an_event(alice, bob, version):
    room = await alice.creates_room(preset="public_chat", room_version=version)
    await bob.joins(room)
    event_id = await bob.sends(room, "embarrassing")
    redaction_id = await bob.sends(room, {"redacts": event_id}, "m.room.redaction", txn_id="r")
    again = await bob.sends(room, {"redacts": event_id}, "m.room.redaction", txn_id="r")
    assert again == redaction_id
    event = await alice.reads_event(room, event_id)
    assert event["unsigned"]["redacted_because"]["event_id"] == redaction_id
    shown = await alice.reads_event(room, redaction_id)
    assert shown["redacts"] == shown["content"]["redacts"] == event_id


async def test_users_redact_their_own_events_and_moderators_those_of_all(alice, bob, room):
    by_alice, by_bob = await alice.sends(room, "a"), await bob.sends(room, "b")
    with refused(403, "M_FORBIDDEN"):
        await bob.redacts(room, by_alice)
    await bob.redacts(room, by_bob)
    assert (await bob.reads_event(room, by_alice))["content"]["body"] == "a"
    await alice.redacts(room, await bob.sends(room, "c"))


async def test_an_event_of_another_room_cannot_be_redacted(alice, room):
    other = await alice.creates_room()
    event_id = await alice.sends(other, "elsewhere")
    with refused(404, "M_NOT_FOUND"):
        await alice.redacts(room, event_id)
    with refused(404, "M_NOT_FOUND"):
        await alice.redacts(room, "$unknown")
    assert (await alice.reads_event(other, event_id))["content"]["body"] == "elsewhere"


async def test_a_send_is_answered_before_the_sender_is_told_by_sync(server, alice, room):
    answered = []

    async def syncs(since):
        answer = await alice.syncs(since, timeout=60_000, set_presence="offline")
        answered.append("sync")
        return answer

    async def sends():
        await alice.sends(room, "hello")
        answered.append("send")

    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    for _ in range(5):
        waiting = asyncio.create_task(syncs(since))
        while not server.base.notifier.waiting():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)
        await sends()
        answer = await waiting
        since = answer["next_batch"]
        assert [event["content"]["body"] for event in _timeline(answer, room)] == ["hello"]
    assert answered == ["send", "sync"] * 5


def _timeline(answer, room):
    return answer["rooms"]["join"][room]["timeline"]["events"]


async def test_many_users_send_at_once(alice, bob, room):
    sent = await asyncio.gather(
        *(client.sends(room, f"{number}") for number in range(30) for client in (alice, bob))
    )
    page = await alice.reads_messages(room, "b", limit=60)
    assert {event["event_id"] for event in page["chunk"]} == set(sent)
