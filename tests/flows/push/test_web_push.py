"""Web Push without a gateway. Spec: MSC4174, RFC 8291, RFC 8292"""

import base64
import json
import re
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from homeserver.services.push.web_push import encrypt
from tests.support.client import answer_of
from tests.support.push_gateway import Browser, WebPushRequest

ACK = "/_matrix/client/unstable/org.matrix.msc4174/pushers/ack"
VAPID = re.compile(r"vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), k=([\w-]+)")


@pytest.fixture
def browser():
    return Browser()


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def sets(client, browser, gateway, **fields):
    return await answer_of(client.post("pushers/set", browser.pusher(gateway, **fields)))


async def activated(client):
    (pusher,) = (await client.get("pushers"))["pushers"]
    return pusher["data"]["activated"]


async def subscribes(client, browser, gateway, **fields):
    """Set a pusher and activate it with the token that comes."""
    assert await sets(client, browser, gateway, **fields) == (201, None)
    ack = browser.decrypt(await gateway.next_web_push())
    assert await client.post(ACK, ack) == {}


async def test_a_message_comes_encrypted(alice, bob, room, gateway, browser):
    await subscribes(bob, browser, gateway)
    event = await alice.sends(room, "hello")
    request = await gateway.next_web_push()
    assert b"hello" not in request.body
    assert browser.decrypt(request) == {
        "event_id": event,
        "room_id": room,
        "type": "m.room.message",
        "sender": alice.user_id,
        "sender_display_name": "alice",
        "room_name": "Mission Control",
        "content": {"msgtype": "m.text", "body": "hello"},
        "prio": "high",
        "tweaks": {"sound": "default"},
        "unread": 1,
    }
    assert request.headers["Content-Encoding"] == "aes128gcm"
    assert (request.headers["TTL"], request.headers["Urgency"]) == ("86400", "high")
    assert "Topic" not in request.headers


async def test_the_push_service_knows_the_server_by_its_key(alice, bob, room, gateway, browser):
    await sets(bob, browser, gateway)
    request = await gateway.next_web_push()
    match = VAPID.fullmatch(request.headers["Authorization"])
    head, claims, signature, public = match.groups()
    capability = (await bob.get("capabilities"))["capabilities"]["org.matrix.msc4174.webpush"]
    assert capability == {"enabled": True, "vapid": public}
    assert json.loads(unpadded(head)) == {"typ": "JWT", "alg": "ES256"}
    told = json.loads(unpadded(claims))
    assert told["aud"] == gateway.url
    assert time.time() < told["exp"] <= time.time() + 24 * 3600
    raw = unpadded(signature)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(public))
    key.verify(
        encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
        f"{head}.{claims}".encode(),
        ec.ECDSA(hashes.SHA256()),
    )


async def test_nothing_comes_before_it_is_activated(alice, bob, room, gateway, browser):
    assert await sets(bob, browser, gateway) == (201, None)
    ack = browser.decrypt(await gateway.next_web_push())
    assert ack.keys() == {"app_id", "ack_token"}
    assert await activated(bob) is False
    await alice.sends(room, "unheard")
    assert await bob.post(ACK, ack) == {}
    assert await activated(bob) is True
    await alice.sends(room, "heard")
    assert browser.decrypt(await gateway.next_web_push())["content"]["body"] == "heard"


async def test_setting_it_again_needs_no_activation_unless_its_address_changes(
    bob, gateway, browser
):
    await subscribes(bob, browser, gateway)
    assert await sets(bob, browser, gateway, lang="de") == 200
    assert await activated(bob) is True
    assert await sets(bob, browser, gateway, data={"url": f"{gateway.url}/push/x"}) == (201, None)
    assert await activated(bob) is False
    first = browser.decrypt(await gateway.next_web_push())
    assert await sets(bob, browser, gateway, data={"url": f"{gateway.url}/push/x"}) == (201, None)
    second = browser.decrypt(await gateway.next_web_push())
    assert await answer_of(bob.post(ACK, first)) == (400, "M_UNKNOWN_ACTIVATION_TOKEN")
    assert await answer_of(bob.post(ACK, second)) == 200


async def test_clients_choose_what_is_told(alice, bob, room, gateway, browser):
    data = {
        "format": "event_id_only",
        "default_payload": {"user_id": bob.user_id},
        "only_last_per_room": True,
    }
    kind = "org.matrix.msc4174.webpush"
    await subscribes(bob, browser, gateway, data=data, kind=kind)
    event = await alice.sends(room, "hello")
    request = await gateway.next_web_push()
    assert browser.decrypt(request) == {
        "user_id": bob.user_id,
        "event_id": event,
        "room_id": room,
        "prio": "high",
        "unread": 1,
    }
    assert len(request.headers["Topic"]) == 32
    (pusher,) = (await bob.get("pushers"))["pushers"]
    assert pusher["kind"] == kind


async def test_a_long_message_is_told_without_its_content(alice, bob, room, gateway, browser):
    await subscribes(bob, browser, gateway)
    event = await alice.sends(room, "x" * 10_000)
    request = await gateway.next_web_push()
    assert len(request.body) <= 4_096
    told = browser.decrypt(request)
    assert told["event_id"] == event
    assert "content" not in told


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_subscription_that_has_ended_is_removed(alice, bob, room, gateway, browser, status):
    await subscribes(bob, browser, gateway)
    gateway.statuses = [status]
    await alice.sends(room, "hello")
    await gateway.next_web_push()
    other = Browser()
    await subscribes(bob, other, gateway)
    await alice.sends(room, "again")
    assert other.decrypt(await gateway.next_web_push())["content"]["body"] == "again"
    assert [p["pushkey"] for p in (await bob.get("pushers"))["pushers"]] == [other.pushkey]


async def test_a_push_service_that_is_busy_is_tried_again(alice, bob, room, gateway, browser):
    await subscribes(bob, browser, gateway)
    gateway.statuses = [429]
    event = await alice.sends(room, "hello")
    told = [browser.decrypt(await gateway.next_web_push())["event_id"] for _ in range(2)]
    assert told == [event, event]


async def test_reading_wakes_no_browser(alice, bob, room, gateway, browser):
    await subscribes(bob, browser, gateway)
    await alice.sends(room, "one")
    await gateway.next_web_push()
    await bob.sends(room, "answer")
    event = await alice.sends(room, "two")
    assert browser.decrypt(await gateway.next_web_push())["event_id"] == event


def test_every_message_is_encrypted_anew(browser):
    auth = unpadded(browser.auth)
    bodies = {encrypt(b'{"a":1}', receiver=browser.public, auth=auth) for _ in range(2)}
    assert len(bodies) == 2
    assert [browser.decrypt(WebPushRequest({}, body)) for body in bodies] == [{"a": 1}] * 2
