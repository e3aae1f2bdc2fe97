"""Who is online, as seen. Spec: client-server-api/#presence"""

import pytest

from homeserver.services.presence_sessions import ACTIVE_MS, GRACE_MS, IDLE_MS
from tests.support.client import quoted, refused
from tests.support.presence import (
    passes,
    presence_in,
    reads_presence,
    sets_presence,
    settles,
    states_in,
)
from tests.support.reading import waiting_sync

ACTIVE, IDLE, GRACE = ACTIVE_MS / 1000, IDLE_MS / 1000, GRACE_MS / 1000


async def test_whoever_syncs_is_online_until_a_grace_after(server, clock, alice, bob, room):
    assert await reads_presence(alice, bob) == {"presence": "offline", "currently_active": False}
    await bob.syncs()
    await settles(server)
    told = await reads_presence(alice, bob)
    assert told == {"presence": "online", "last_active_ago": 0, "currently_active": True}
    await passes(server, clock, GRACE - 1)
    assert (await reads_presence(alice, bob))["presence"] == "online"
    await passes(server, clock, 1)
    told = await reads_presence(alice, bob)
    assert told == {
        "presence": "offline",
        "last_active_ago": GRACE_MS,
        "currently_active": False,
    }


async def test_whoever_waits_in_a_sync_stays_online(server, clock, alice, bob, room):
    await bob.syncs()
    await settles(server)
    since = (await bob.syncs())["next_batch"]
    async with waiting_sync(server, bob, since):
        await passes(server, clock, GRACE * 2)
        assert (await reads_presence(alice, bob))["presence"] == "online"


@pytest.mark.parametrize(
    ("set_presence", "becomes"),
    [(None, "online"), ("online", "online"), ("unavailable", "unavailable"), ("offline", None)],
)
async def test_a_sync_says_what_the_client_is(server, alice, bob, room, set_presence, becomes):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await bob.syncs(set_presence=set_presence)
    await settles(server)
    told = states_in(await alice.syncs(since, set_presence="offline"))
    assert told == ({} if becomes is None else {bob.user_id: becomes})


async def test_only_changes_are_told(server, clock, alice, bob, room):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await bob.syncs()
    await settles(server)
    answer = await alice.syncs(since, set_presence="offline")
    assert presence_in(answer) == {
        bob.user_id: {
            "presence": "online",
            "last_active_ago": 0,
            "currently_active": True,
            "displayname": "bob",
        }
    }
    for _ in range(3):
        await bob.sends(room, "hello")
        await bob.syncs()
        await passes(server, clock, 10)
    again = await alice.syncs(answer["next_batch"], set_presence="offline")
    assert "presence" not in again
    assert (await reads_presence(alice, bob))["last_active_ago"] == 10_000, "but can be asked for"


async def test_nothing_is_written_for_syncs_that_change_nothing(server, clock, alice, room):
    await alice.syncs()
    await settles(server)
    position = server.base.tail.position
    for _ in range(5):
        await alice.syncs()
        await passes(server, clock, 5)
    assert server.base.tail.position == position


async def test_whoever_does_nothing_becomes_inactive_then_idle(server, clock, alice, bob, room):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    states = []
    for _ in range(8):
        await bob.syncs()
        await passes(server, clock, GRACE - 1)
        answer = await alice.syncs(since, set_presence="offline")
        since = answer["next_batch"]
        states += [
            (told["presence"], told.get("currently_active"))
            for told in presence_in(answer).values()
        ]
    assert states == [("online", True), ("online", False), ("unavailable", None)]


async def test_any_activity_ends_being_idle(server, clock, alice, bob, room):
    since = (await bob.syncs())["next_batch"]
    await settles(server)
    # His own coming is news to him as well, and would end the sync that is to wait.
    since = (await bob.syncs(since))["next_batch"]
    async with waiting_sync(server, bob, since):
        await settles(server)
        await passes(server, clock, IDLE)
        assert (await reads_presence(alice, bob))["presence"] == "unavailable"
        await bob.sends(room, "back")
        await settles(server)
        told = await reads_presence(alice, bob)
        assert told == {"presence": "online", "last_active_ago": 0, "currently_active": True}


async def test_reading_for_all_to_see_is_activity(server, clock, alice, bob, room):
    event_id = await alice.sends(room, "hi")
    await bob.syncs(set_presence="unavailable")
    await settles(server)
    clock.tick(1)
    await bob.post(f"rooms/{quoted(room)}/receipt/m.read/{quoted(event_id)}")
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_the_most_active_device_counts(server, clock, clients, alice, bob, room):
    phone = clients.nobody()
    login = {"type": "m.login.password", "password": "wordpass-1"}
    login["identifier"] = {"type": "m.id.user", "user": bob.user_id}
    phone.access_token = (await phone.post("login", login))["access_token"]
    await bob.syncs()
    await phone.syncs(set_presence="unavailable")
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "online"
    clock.tick(GRACE - 1)
    await phone.syncs(set_presence="unavailable")
    await passes(server, clock, 1)
    assert (await reads_presence(alice, bob))["presence"] == "unavailable"
    await passes(server, clock, GRACE)
    assert (await reads_presence(alice, bob))["presence"] == "offline"


async def test_a_client_that_comes_back_is_online_again(server, clock, alice, bob, room):
    await bob.syncs()
    await bob.syncs(set_presence="unavailable")
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "unavailable"
    clock.tick(1)
    await bob.syncs(set_presence="online")
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_presence_is_told_to_those_who_share_a_room(server, alice, bob, carol, room):
    since = (await carol.syncs(set_presence="offline"))["next_batch"]
    await sets_presence(bob, "online", status_msg="here")
    assert "presence" not in await carol.syncs(since, set_presence="offline")
    with refused(403, "M_FORBIDDEN"):
        await reads_presence(carol, bob)
    await carol.joins(room)
    told = presence_in(await carol.syncs(since, set_presence="offline"))
    assert told[bob.user_id]["status_msg"] == "here"
    assert alice.user_id not in told, "who is offline is not told of"
    assert (await reads_presence(carol, bob))["presence"] == "online"


async def test_who_comes_into_a_room_brings_the_presence(server, alice, bob, carol, room):
    await sets_presence(carol, "unavailable")
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await carol.joins(room)
    answer = await alice.syncs(since, set_presence="offline")
    assert states_in(answer) == {carol.user_id: "unavailable"}
    await carol.leaves(room)
    await sets_presence(carol, "online")
    assert "presence" not in await alice.syncs(answer["next_batch"], set_presence="offline")
    with refused(403, "M_FORBIDDEN"):
        await reads_presence(alice, carol)


async def test_an_invited_user_is_not_told(alice, bob, carol, room):
    await alice.invites(room, carol)
    await sets_presence(bob, "online")
    assert "presence" not in await carol.syncs(set_presence="offline")
    with refused(403, "M_FORBIDDEN"):
        await reads_presence(carol, bob)


async def test_an_initial_sync_tells_who_is_there(server, alice, bob, carol, room):
    await carol.joins(room)
    await sets_presence(bob, "unavailable", status_msg="lunch")
    await sets_presence(alice, "online")
    told = presence_in(await alice.syncs())
    assert {user_id: each["presence"] for user_id, each in told.items()} == {
        bob.user_id: "unavailable",
        alice.user_id: "online",
    }
    assert told[bob.user_id]["status_msg"] == "lunch"
    older = await alice.get("initialSync")
    assert {each["sender"] for each in older["presence"]} == {alice.user_id, bob.user_id}


async def test_the_old_event_stream_tells_presence_too(server, alice, bob, room):
    start = (await alice.get("events", timeout=0))["end"]
    await sets_presence(bob, "unavailable")
    page = await alice.get("events", from_=start, timeout=0)
    told = {each["sender"]: each["content"]["presence"] for each in page["chunk"]}
    assert told == {bob.user_id: "unavailable"}
    assert (await alice.get("events", from_=page["end"], timeout=0))["chunk"] == []
    await settles(server)
    assert (await reads_presence(bob, alice))["presence"] == "online", "by following it"


async def test_a_waiting_client_hears_of_a_change(server, alice, bob, room):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    async with waiting_sync(server, alice, since) as waiting:
        await sets_presence(bob, "online", status_msg="hi")
        told = presence_in(await waiting)
    assert told[bob.user_id]["status_msg"] == "hi"


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({}, "alice bob carol"),
        ({"types": []}, ""),
        ({"types": ["m.other"]}, ""),
        ({"not_types": ["m.presence"]}, ""),
        ({"types": ["m.*"]}, "alice bob carol"),
        ({"senders": ["@bob:hs.example"]}, "bob"),
        ({"not_senders": ["@bob:hs.example"]}, "alice carol"),
        ({"limit": 0}, ""),
        ({"limit": 1}, "carol"),
    ],
    ids=str,
)
async def test_a_filter_chooses(alice, bob, carol, room, chosen, names):
    await carol.joins(room)
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    for client in (alice, bob, carol):
        await sets_presence(client, "unavailable")
    for token in (None, since):
        answer = await alice.syncs(token, set_presence="offline", filter={"presence": chosen})
        assert {user_id[1:].split(":")[0] for user_id in presence_in(answer)} == set(names.split())


async def test_ignored_users_are_not_told_of(alice, bob, room):
    ignored = {"ignored_users": {bob.user_id: {}}}
    path = f"user/{quoted(alice.user_id)}/account_data/m.ignored_user_list"
    await alice.put(path, ignored)
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await sets_presence(bob, "online")
    assert "presence" not in await alice.syncs(since, set_presence="offline")


async def test_a_new_name_is_told_with_the_presence(server, alice, bob, room):
    await sets_presence(bob, "online")
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await bob.put(f"profile/{quoted(bob.user_id)}/displayname", {"displayname": "Böb"})
    await bob.put(f"profile/{quoted(bob.user_id)}/avatar_url", {"avatar_url": "mxc://a/b"})
    await settles(server)
    told = presence_in(await alice.syncs(since, set_presence="offline"))[bob.user_id]
    assert (told["displayname"], told["avatar_url"]) == ("Böb", "mxc://a/b")
    assert told["presence"] == "online"
