"""Notifications to push gateways. Spec: push-gateway-api/#post_matrixpushv1notify"""

import pytest

from tests.support.client import quoted
from tests.support.push_gateway import PushGateway
from tests.support.to_device import logs_in_again


async def reads(client, room, event, receipt_type="m.read"):
    await client.post(f"rooms/{quoted(room)}/receipt/{receipt_type}/{quoted(event)}")


async def sets_pusher(client, gateway, pushkey="key", **fields):
    assert await client.post("pushers/set", gateway.pusher(pushkey, **fields)) == {}


async def pushkeys(client):
    return [each["pushkey"] for each in (await client.get("pushers"))["pushers"]]


async def waiting_events(server):
    async with server.base.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT e.event_id FROM push_queue q JOIN events e USING (event_nid) ORDER BY q.pos"
        )
    return [row["event_id"] for row in rows]


async def is_sent(server, client):
    """Wait until nothing waits any more."""
    async with server.base.database.connection() as connection:
        while await connection.fetchval("SELECT count(*) FROM push_queue"):
            await client.syncs()


async def only_waits(server, client, *events):
    """Wait until all else is forgotten: an attempt that began before that may be under way."""
    while await waiting_events(server) != list(events):
        await client.syncs()


@pytest.fixture
async def pushed(bob, gateway: PushGateway):
    """Bob is notified."""
    await sets_pusher(bob, gateway)


async def test_a_message_is_told_with_all_about_it(alice, room, gateway, pushed):
    event = await alice.sends(room, "hello")
    notification = await gateway.next()
    device = notification.pop("devices")[0]
    assert notification == {
        "event_id": event,
        "room_id": room,
        "type": "m.room.message",
        "sender": alice.user_id,
        "sender_display_name": "alice",
        "room_name": "Mission Control",
        "content": {"msgtype": "m.text", "body": "hello"},
        "prio": "high",
        "counts": {"unread": 1},
    }
    assert isinstance(device.pop("pushkey_ts"), int)
    assert device == {
        "app_id": "org.example.app",
        "pushkey": "key",
        "data": {},
        "tweaks": {"sound": "default"},
    }


async def test_the_short_format_tells_no_more_than_it_must(alice, bob, room, gateway):
    await sets_pusher(bob, gateway, data={"format": "event_id_only", "own": {"a": 1}})
    event = await alice.sends(room, "hello")
    notification = await gateway.next()
    assert notification.keys() == {"event_id", "room_id", "counts", "devices", "prio"}
    assert notification["event_id"] == event
    assert notification["devices"][0]["data"] == {"format": "event_id_only", "own": {"a": 1}}


async def test_messages_come_once_and_in_order(alice, room, gateway, pushed):
    texts = [str(number) for number in range(20)]
    for text in texts:
        await alice.sends(room, text)
    assert await gateway.next_bodies(20) == texts
    await alice.sends(room, "last")
    assert await gateway.next_bodies(1) == ["last"]
    assert gateway.attempts == 21


async def test_a_gateway_that_is_down_gets_everything_when_it_is_back(alice, room, gateway, pushed):
    gateway.is_down = True
    await alice.sends(room, "one")
    await gateway.tried()
    await alice.sends(room, "two")
    gateway.is_down = False
    assert await gateway.next_bodies(2) == ["one", "two"]


async def test_what_is_too_large_for_the_gateway_comes_without_content(
    alice, room, gateway, pushed
):
    gateway.statuses = [413]
    event = await alice.sends(room, "long")
    notification = await gateway.next()
    assert notification["event_id"] == event
    assert notification["sender_display_name"] == "alice"
    assert "content" not in notification
    # Not even then: it is in nobody's way.
    gateway.statuses = [413, 413]
    await alice.sends(room, "longer")
    await alice.sends(room, "short")
    assert await gateway.next_bodies(1) == ["short"]


async def test_what_is_read_meanwhile_is_not_told(server, alice, bob, room, gateway, pushed):
    gateway.is_down = True
    await alice.sends(room, "one")
    await gateway.tried()
    await reads(bob, room, await alice.sends(room, "two"), "m.read.private")
    await only_waits(server, alice)
    gateway.is_down = False
    await alice.sends(room, "three")
    assert (await gateway.next())["content"]["body"] == "three"


async def test_redacted_meanwhile_is_not_told(server, alice, room, gateway, pushed):
    gateway.is_down = True
    event = await alice.sends(room, "one")
    await gateway.tried()
    await alice.redacts(room, event)
    await only_waits(server, alice, await alice.sends(room, "two"))
    gateway.is_down = False
    assert (await gateway.next())["content"]["body"] == "two"


async def test_reading_takes_the_number_off_the_icon(alice, bob, room, gateway, pushed):
    event = await alice.sends(room, "hello")
    assert (await gateway.next())["counts"] == {"unread": 1}
    await reads(bob, room, event)
    badge = await gateway.next()
    assert badge["counts"] == {}
    assert badge.keys() == {"counts", "devices"}
    # A second receipt changes nothing, and is not told.
    await reads(bob, room, event, "m.read.private")
    await alice.sends(room, "again")
    assert (await gateway.next())["counts"] == {"unread": 1}


async def test_a_higher_number_comes_with_what_has_made_it_higher(
    server, alice, room, gateway, pushed
):
    """Who reads while messages come is not told of each of them twice."""
    await alice.sends(room, "one")
    await gateway.next()
    await is_sent(server, alice)
    async with server.base.database.connection() as connection:
        # As if "one" were not queued yet, but something was read.
        pusher_nid = await connection.fetchval(
            "UPDATE pushers SET told_unread = 0 RETURNING pusher_nid"
        )
        await connection.execute(
            "INSERT INTO push_queue SELECT $1, pos, NULL, false, '{}', $2 FROM log_head",
            pusher_nid,
            server.base.clock.now_ms(),
        )
    server.parts.push.sender.wake([pusher_nid])
    await is_sent(server, alice)
    await alice.sends(room, "two")
    assert (await gateway.next())["counts"] == {"unread": 2}


async def test_answering_takes_the_number_off_the_icon(alice, bob, room, gateway, pushed):
    await alice.sends(room, "hello")
    await gateway.next()
    await bob.sends(room, "hi")
    assert (await gateway.next())["counts"] == {}


async def test_leaving_takes_the_number_off_the_icon(alice, bob, room, gateway, pushed):
    await alice.sends(room, "hello")
    await gateway.next()
    await bob.leaves(room)
    assert (await gateway.next())["counts"] == {}


async def test_who_is_gone_for_good_has_no_pushers(server, alice, bob, room, gateway, pushed):
    auth = {"type": "m.login.password", "password": "wordpass-1"}
    auth["identifier"] = {"type": "m.id.user", "user": bob.user_id}
    await bob.post("account/deactivate", {"auth": auth})
    async with server.base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pushers") == 0


async def test_counts_are_of_all_rooms(alice, bob, room, gateway, pushed):
    other = await alice.creates_room(preset="public_chat")
    await bob.joins(other)
    await alice.sends(room, "one")
    assert (await gateway.next())["counts"] == {"unread": 1}
    await alice.sends(other, "two")
    assert (await gateway.next())["counts"] == {"unread": 2}


async def test_missed_calls_are_counted_until_they_are_read(alice, bob, room, gateway, pushed):
    call = {"call_id": "c", "version": "1", "lifetime": 60_000, "party_id": "p", "offer": {}}
    await alice.sends(room, call, "m.call.invite")
    notification = await gateway.next()
    assert notification["counts"] == {"unread": 1, "missed_calls": 1}
    assert notification["devices"][0]["tweaks"] == {"sound": "ring"}
    await bob.sends(room, {"call_id": "c", "version": "1", "party_id": "q"}, "m.call.reject")
    assert (await gateway.next())["counts"] == {}


async def test_an_invite_is_told(alice, bob, gateway, pushed):
    room = await alice.creates_room(name="Secret")
    await alice.invites(room, bob)
    notification = await gateway.next()
    assert (notification["type"], notification["user_is_target"]) == ("m.room.member", True)
    assert notification["room_name"] == "Secret"


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("m.room.message", {"msgtype": "m.notice", "body": "silent"}),
        (
            "m.room.message",
            {
                "msgtype": "m.text",
                "body": "* edited",
                "m.new_content": {"msgtype": "m.text", "body": "edited"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
            },
        ),
        ("org.example.unknown", {}),
    ],
)
async def test_what_no_rule_tells_of_is_not_told(alice, room, gateway, pushed, event_type, content):
    if "m.relates_to" in content:
        edited = await alice.sends(room, "first")
        assert await gateway.next_bodies(1) == ["first"]
        relation = {"rel_type": "m.replace", "event_id": edited}
        content = {**content, "m.relates_to": relation}
    await alice.sends(room, content, event_type)
    await alice.sends(room, "loud")
    assert await gateway.next_bodies(1) == ["loud"]


async def test_own_rules_decide(alice, bob, carol, room, gateway, pushed):
    await carol.joins(room)
    await bob.put(f"pushrules/global/room/{quoted(room)}", {"actions": []})
    await alice.sends(room, "muted")
    mention = {"msgtype": "m.text", "body": "bob!", "m.mentions": {"user_ids": [bob.user_id]}}
    await alice.sends(room, mention)
    notification = await gateway.next()
    assert notification["content"]["body"] == "bob!"
    assert notification["devices"][0]["tweaks"] == {"highlight": True, "sound": "default"}


async def test_plain_messages_of_a_large_room_are_of_low_priority(
    alice, carol, room, gateway, pushed
):
    await carol.joins(room)
    await alice.sends(room, "hello")
    notification = await gateway.next()
    assert (notification["prio"], notification["devices"][0]["tweaks"]) == ("low", {})


async def test_own_messages_are_not_told(alice, bob, room, gateway, pushed):
    await bob.sends(room, "mine")
    await alice.sends(room, "yours")
    assert await gateway.next_bodies(1) == ["yours"]


async def test_who_has_left_is_told_nothing(server, alice, bob, room, gateway, pushed):
    gateway.is_down = True
    await alice.sends(room, "one")
    await gateway.tried()
    await bob.leaves(room)
    other = await alice.creates_room(preset="public_chat")
    await bob.joins(other)
    two = await alice.sends(other, "two")
    await only_waits(server, alice, two)
    gateway.is_down = False
    assert await gateway.next_bodies(1) == ["two"]


async def test_a_rejected_key_is_removed(alice, bob, room, gateway, pushed):
    await sets_pusher(bob, gateway, "other")
    gateway.rejected = ["key"]
    await alice.sends(room, "one")
    assert {(await gateway.next())["devices"][0]["pushkey"] for _ in range(2)} == {"key", "other"}
    await alice.sends(room, "two")
    assert (await gateway.next())["devices"][0]["pushkey"] == "other"
    assert await pushkeys(bob) == ["other"]


async def test_a_pusher_goes_with_its_device(clients, alice, bob, room, gateway):
    phone = await logs_in_again(clients, bob, "PHONE")
    await sets_pusher(phone, gateway, "phone")
    await sets_pusher(bob, gateway, "desk")
    await phone.post("logout")
    assert await pushkeys(bob) == ["desk"]
    await alice.sends(room, "hello")
    assert (await gateway.next())["devices"][0]["pushkey"] == "desk"


async def test_a_new_password_takes_the_pushers_of_the_devices_it_logs_out(clients, bob, gateway):
    phone = await logs_in_again(clients, bob, "PHONE")
    await sets_pusher(phone, gateway, "phone")
    await sets_pusher(bob, gateway, "desk")
    auth = {"type": "m.login.password", "password": "wordpass-1"}
    auth["identifier"] = {"type": "m.id.user", "user": bob.user_id}
    await bob.post("account/password", {"new_password": "wordpass-2", "auth": auth})
    assert await pushkeys(bob) == ["desk"]


async def test_a_pusher_that_is_set_to_null_is_gone(alice, bob, room, gateway, pushed):
    deleted = {"app_id": "org.example.app", "pushkey": "key", "kind": None}
    assert await bob.post("pushers/set", deleted) == {}
    assert await bob.post("pushers/set", deleted) == {}
    assert await pushkeys(bob) == []
    await alice.sends(room, "hello")
    await sets_pusher(bob, gateway, "other")
    await alice.sends(room, "again")
    assert await gateway.next_bodies(1) == ["again"]


async def test_setting_a_pusher_again_changes_it(bob, gateway, pushed):
    await sets_pusher(bob, gateway, lang="de", profile_tag="tag")
    (pusher,) = (await bob.get("pushers"))["pushers"]
    assert pusher == {
        **gateway.pusher(),
        "lang": "de",
        "profile_tag": "tag",
        "org.matrix.msc3881.enabled": True,
        "org.matrix.msc3881.device_id": bob.device_id,
    }


async def test_another_user_on_the_phone_takes_the_pusher_over(alice, bob, carol, gateway, pushed):
    await sets_pusher(carol, gateway, append=True)
    assert await pushkeys(bob) == ["key"]
    await sets_pusher(alice, gateway)
    assert (await pushkeys(bob), await pushkeys(carol)) == ([], [])


async def test_a_pusher_is_switched_off_and_on_from_another_device(
    clients, alice, bob, room, gateway
):
    phone = await logs_in_again(clients, bob, "PHONE")
    await sets_pusher(phone, gateway)
    await sets_pusher(bob, gateway, **{"org.matrix.msc3881.enabled": False})
    (pusher,) = (await bob.get("pushers"))["pushers"]
    assert pusher["org.matrix.msc3881.enabled"] is False
    assert pusher["org.matrix.msc3881.device_id"] == phone.device_id
    await alice.sends(room, "unheard")
    await sets_pusher(bob, gateway, **{"org.matrix.msc3881.enabled": True})
    await alice.sends(room, "heard")
    assert await gateway.next_bodies(1) == ["heard"]
    features = (await bob.get("/_matrix/client/versions"))["unstable_features"]
    assert features["org.matrix.msc3881"] is True


async def test_several_pushers_are_told_each(alice, bob, room, gateway, pushed):
    await sets_pusher(bob, gateway, "tablet")
    await alice.sends(room, "hello")
    told = {(await gateway.next())["devices"][0]["pushkey"] for _ in range(2)}
    assert told == {"key", "tablet"}
