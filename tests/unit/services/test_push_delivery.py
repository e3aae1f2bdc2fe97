"""What notifications are made of, and which gateways are left alone."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.services.push.notification import (
    Counts,
    Push,
    gateway_body,
    rejected_keys,
    web_push_payload,
)
from homeserver.services.push.silent_hosts import FAILURES, MAX_HOSTS, SilentHosts
from homeserver.services.push.web_push import MAX_BODY_BYTES, MAX_PAYLOAD_BYTES, VapidKey, encrypt
from homeserver.storage.push_queue import PushedEvent
from homeserver.storage.pushers import PusherRow
from tests.support.clock import FakeClock
from tests.support.push_gateway import Browser

# RFC 8291, section 5.
VECTOR_KEY = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
VECTOR_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
VECTOR_BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
URL = "https://push.example.org:8443/x"


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def browser() -> Browser:
    """The browser of the RFC's example."""
    number = int.from_bytes(raw(VECTOR_KEY), "big")
    return Browser(ec.derive_private_key(number, ec.SECP256R1()), raw(VECTOR_AUTH))


def test_the_browser_of_the_tests_reads_the_example_of_the_rfc(browser: Browser) -> None:
    text = browser.decrypt_body(raw(VECTOR_BODY))
    assert text == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize("size", [0, 1, MAX_PAYLOAD_BYTES])
def test_that_browser_reads_what_is_encrypted_for_it(browser: Browser, size: int) -> None:
    body = encrypt(b"x" * size, receiver=browser.public, auth=raw(VECTOR_AUTH))
    assert len(body) <= MAX_BODY_BYTES
    assert browser.decrypt_body(body) == b"x" * size


def test_the_same_secret_gives_the_same_key() -> None:
    first, second = (VapidKey(b"\1" * 32, None) for _ in range(2))
    assert first.public_key == second.public_key != VapidKey(b"\2" * 32, None).public_key


@pytest.mark.parametrize("secret", [b"\0" * 32, b"\xff" * 32])
def test_every_secret_gives_a_key(secret: bytes) -> None:
    assert len(raw(VapidKey(secret, None).public_key)) == 65


def test_the_contact_is_told_where_there_is_one() -> None:
    token = VapidKey(b"\1" * 32, "mailto:a@example.org").authorization(URL, 1_700_000_000_000)
    claims = json.loads(raw(token.split(".")[1]))
    assert claims == {
        "aud": "https://push.example.org:8443",
        "exp": 1_700_000_000 + 12 * 3600,
        "sub": "mailto:a@example.org",
    }


def pusher() -> PusherRow:
    return PusherRow(
        pusher_nid=1,
        user_id=UserID("@bob:hs.example"),
        app_id="app",
        pushkey="key",
        kind="http",
        app_display_name="",
        device_display_name="",
        profile_tag=None,
        lang="en",
        content=b"{}",
        set_ts=1_700_000_000_999,
        device_id=None,
        token_nid=None,
        is_enabled=True,
        is_activated=True,
        unsubscribe_token=None,
        told_unread=0,
        failures=0,
    )


def pushed(content: object, **data: object) -> Push:
    core = json.dumps({"content": content}).encode()
    event = PushedEvent(
        EventID("$e"), 1, RoomID("!r"), "m.room.message", UserID("@alice:hs.example"), None, 1,
        core, None, None, None,
    )  # fmt: skip
    return Push(pusher(), dict(data), event, {}, False, Counts(3, 1))


def test_the_address_of_the_gateway_is_not_sent_to_it() -> None:
    push = pushed({}, url=URL, brand={"x": 1})
    device = json.loads(gateway_body(push))["notification"]["devices"][0]
    assert device["data"] == {"brand": {"x": 1}}
    assert device["pushkey_ts"] == 1_700_000_000


@pytest.mark.parametrize("data", [{}, {"default_payload": {"big": "y" * 5_000, "small": 1}}])
def test_what_is_too_large_is_left_out(data: dict[str, object]) -> None:
    payload = web_push_payload(pushed({"body": "x" * 5_000}, **data), MAX_PAYLOAD_BYTES)
    told = json.loads(payload)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert (told["event_id"], told["unread"], told["missed_calls"]) == ("$e", 3, 1)
    assert "content" not in told


@pytest.mark.parametrize(
    "answer", [None, [], "x", {}, {"rejected": None}, {"rejected": "key"}, {"rejected": [1, None]}]
)
def test_an_answer_of_another_shape_rejects_nothing(answer: object) -> None:
    assert "key" not in rejected_keys(answer)


def test_a_host_that_never_answers_is_left_alone_for_a_while() -> None:
    clock = FakeClock()
    hosts = SilentHosts(clock)
    for _ in range(FAILURES):
        assert not hosts.is_silent(URL)
        hosts.failed(URL)
    assert hosts.is_silent(URL)
    assert not hosts.is_silent("https://other.example.org/x")
    clock.tick(2)
    assert not hosts.is_silent(URL)
    hosts.failed(URL)
    clock.tick(1.5)
    assert hosts.is_silent(URL)


def test_an_answer_makes_up_for_all_failures() -> None:
    hosts = SilentHosts(FakeClock())
    for _ in range(FAILURES - 1):
        hosts.failed(URL)
    hosts.answered(URL)
    hosts.failed(URL)
    assert not hosts.is_silent(URL)


def test_hosts_are_forgotten_before_they_fill_the_memory() -> None:
    hosts = SilentHosts(FakeClock())
    for _ in range(FAILURES):
        hosts.failed(URL)
    for number in range(MAX_HOSTS):
        hosts.failed(f"https://{number}.example.org/")
    assert not hosts.is_silent(URL)
