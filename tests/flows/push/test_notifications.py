"""Listing notifications. Spec: client-server-api/#listing-notifications"""

import pytest

from tests.support.account_data import ignores
from tests.support.client import quoted


async def bodies(client, **query):
    answer = await client.get("notifications", **query)
    return [each["event"]["content"].get("body") for each in answer["notifications"]]


async def mentions(client, room, other, text):
    mention = {"msgtype": "m.text", "body": text, "m.mentions": {"user_ids": [other.user_id]}}
    return await client.sends(room, mention)


@pytest.fixture
async def busy(alice, bob, room):
    """Five messages, of which two highlight."""
    for text in ("one", "two"):
        await alice.sends(room, text)
    await mentions(alice, room, bob, "bob, three")
    await alice.sends(room, "four")
    await mentions(alice, room, bob, "bob, five")


async def test_a_notification_says_what_there_is_to_say(alice, bob, room):
    event = await alice.sends(room, "hello")
    (told,) = (await bob.get("notifications"))["notifications"]
    assert told["event"].pop("unsigned").keys() == {"age"}
    assert told == {
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}],
        "event": {
            "type": "m.room.message",
            "sender": alice.user_id,
            "event_id": event,
            "content": {"msgtype": "m.text", "body": "hello"},
            "origin_server_ts": told["ts"],
        },
        "read": False,
        "room_id": room,
        "ts": told["ts"],
    }


async def test_the_newest_come_first_and_pages_go_on(bob, busy):
    everything = ["bob, five", "four", "bob, three", "two", "one"]
    assert await bodies(bob) == everything
    seen, start = [], None
    while True:
        page = await bob.get("notifications", limit=2, **{"from": start})
        seen += [each["event"]["content"]["body"] for each in page["notifications"]]
        start = page.get("next_token")
        if start is None:
            break
    assert seen == everything


async def test_highlights_alone(bob, busy):
    assert await bodies(bob, only="highlight") == ["bob, five", "bob, three"]
    assert await bodies(bob, only="highlight", limit=1) == ["bob, five"]
    assert await bodies(bob, only="something") == await bodies(bob)


async def test_what_is_read_says_so(alice, bob, room, busy):
    event = (await bob.get("notifications"))["notifications"][2]["event"]["event_id"]
    await bob.post(f"rooms/{quoted(room)}/receipt/m.read/{quoted(event)}")
    answer = await bob.get("notifications")
    assert [each["read"] for each in answer["notifications"]] == [False, False, True, True, True]


async def test_only_what_notifies_is_listed(alice, bob, carol, room):
    await carol.joins(room)
    await alice.sends(room, {"msgtype": "m.notice", "body": "notice"})
    await bob.sends(room, "own")
    await ignores(bob, carol)
    await carol.sends(room, "ignored")
    gone = await alice.sends(room, "redacted")
    await alice.redacts(room, gone)
    await alice.sends(room, "told")
    assert await bodies(bob) == ["told"]


async def test_a_muted_room_tells_of_mentions(alice, bob, room):
    await bob.put(f"pushrules/global/room/{quoted(room)}", {"actions": []})
    await alice.sends(room, "muted")
    await mentions(alice, room, bob, "bob!")
    assert await bodies(bob) == ["bob!"]


async def test_threads_are_told_too(alice, bob, room):
    root = await alice.sends(room, "root")
    for text in ("a", "b"):
        thread = {"rel_type": "m.thread", "event_id": root}
        await alice.sends(room, {"msgtype": "m.text", "body": text, "m.relates_to": thread})
    await alice.sends(room, "main")
    assert await bodies(bob) == ["main", "b", "a", "root"]
    await bob.post(f"rooms/{quoted(room)}/receipt/m.read/{quoted(root)}", {"thread_id": "main"})
    answer = await bob.get("notifications")
    assert [each["read"] for each in answer["notifications"]] == [False, False, False, True]


async def test_what_was_said_before_one_joined_is_not_told(alice, carol, room):
    await alice.sends(room, "before")
    await carol.joins(room)
    await alice.sends(room, "after")
    assert await bodies(carol) == ["after"]


async def test_an_invite_is_told_and_nothing_else_of_the_room(alice, carol):
    room = await alice.creates_room()
    await alice.sends(room, "before")
    await alice.invites(room, carol)
    await alice.sends(room, "after")
    (told,) = (await carol.get("notifications"))["notifications"]
    assert told["event"]["content"]["membership"] == "invite"


async def test_rooms_that_were_left_are_not_told(alice, bob, room, busy):
    await bob.leaves(room)
    assert await bob.get("notifications") == {"notifications": []}


async def test_silence_is_gone_through_in_steps(alice, bob, room):
    await alice.sends(room, "old")
    for number in range(101):
        await alice.sends(room, {"msgtype": "m.notice", "body": str(number)})
    assert await bodies(bob) == ["old"]
