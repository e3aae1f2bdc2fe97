"""Spec: client-server-api/#key-management-api"""

import asyncio
import json

import pytest

from tests.support.client import answer_of, refused
from tests.support.key_uploads import claims, device_of, queries, uploads_keys
from tests.support.reading import waiting_sync

SIGNED = "signed_curve25519"


@pytest.fixture
async def room(alice, bob):
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def next_batch(client):
    return (await client.syncs())["next_batch"]


async def test_everybody_gets_the_keys_of_a_device_as_they_were_uploaded(alice, bob):
    device = await uploads_keys(alice)
    told = (await queries(bob, alice))["device_keys"]
    assert told == {alice.user_id: {alice.device_id: device.device_keys()}}


async def test_the_name_of_a_device_comes_with_its_keys(alice, bob):
    await uploads_keys(alice)
    await alice.put(f"devices/{alice.device_id}", {"display_name": "Alice's phone"})
    told = (await queries(bob, alice))["device_keys"][alice.user_id][alice.device_id]
    assert told["unsigned"] == {"device_display_name": "Alice's phone"}


async def test_a_query_may_name_devices(alice, bob):
    await uploads_keys(alice)
    for device_id, expected in ((alice.device_id, [alice.device_id]), ("OTHER", [])):
        body = {"device_keys": {alice.user_id: [device_id]}}
        told = (await bob.post("keys/query", body))["device_keys"]
        assert list(told[alice.user_id]) == expected


async def test_unknown_users_are_missing_and_servers_out_of_reach_are_failures(alice):
    wanted = {"@nobody:hs.example": [], "@dave:elsewhere.example": []}
    answer = await alice.post("keys/query", {"device_keys": wanted, "timeout": 10})
    assert answer["device_keys"] == {}
    assert list(answer["failures"]) == ["elsewhere.example"]
    claim = {"@nobody:hs.example": {"D": SIGNED}, "@dave:elsewhere.example": {"D": SIGNED}}
    answer = await alice.post("keys/claim", {"one_time_keys": claim})
    assert answer["one_time_keys"] == {}
    assert list(answer["failures"]) == ["elsewhere.example"]


async def test_the_same_upload_again_changes_nothing(alice, bob, room):
    device = device_of(alice)
    body = {
        "device_keys": device.device_keys(),
        "one_time_keys": device.one_time_keys(2),
        "fallback_keys": device.fallback_keys(),
    }
    first = await alice.post("keys/upload", body)
    since = await next_batch(bob)
    assert await alice.post("keys/upload", body) == first == {"one_time_key_counts": {SIGNED: 2}}
    assert "device_lists" not in await bob.syncs(since)


async def test_new_identity_keys_replace_those_of_the_device_and_what_these_have_signed(alice, bob):
    await uploads_keys(alice, one_time=3, with_fallback=True)
    device = await uploads_keys(alice, one_time=1)
    told = (await queries(bob, alice))["device_keys"]
    assert told[alice.user_id][alice.device_id] == device.device_keys()
    assert list((await alice.post("keys/upload"))["one_time_key_counts"].values()) == [1]
    assert await claims(bob, alice)
    assert await claims(bob, alice) == {}


async def test_one_time_keys_are_given_out_in_the_order_of_their_uploads(alice, bob):
    device = await uploads_keys(alice)
    uploads = [device.one_time_keys(2) for _ in range(3)]
    for keys in uploads:
        await alice.post("keys/upload", {"one_time_keys": keys})
    for keys in uploads:
        claimed = {**await claims(bob, alice), **await claims(bob, alice)}
        assert claimed == keys
    assert await claims(bob, alice) == {}


async def test_a_key_that_was_claimed_is_not_given_away_again_after_a_repeated_upload(alice, bob):
    device = await uploads_keys(alice)
    keys = device.one_time_keys(1)
    await alice.post("keys/upload", {"one_time_keys": keys})
    assert await claims(bob, alice) == keys
    await alice.post("keys/upload", {"one_time_keys": keys})
    assert await claims(bob, alice) == {}


async def test_another_key_may_have_the_id_of_a_claimed_one(alice, bob):
    device = await uploads_keys(alice)
    first, second = device.one_time_keys(1), device.one_time_keys(1)
    ((name, _),), ((_, other),) = first.items(), second.items()
    await alice.post("keys/upload", {"one_time_keys": first})
    await claims(bob, alice)
    await alice.post("keys/upload", {"one_time_keys": {name: other}})
    assert await claims(bob, alice) == {name: other}


async def test_the_fallback_key_is_given_out_when_there_are_no_others_and_is_marked(alice, bob):
    device = await uploads_keys(alice, one_time=1)
    fallback = device.fallback_keys()
    await alice.post("keys/upload", {"org.matrix.msc2732.fallback_keys": fallback})
    assert await claims(bob, alice) != fallback
    assert (await alice.syncs())["device_unused_fallback_key_types"] == [SIGNED]
    assert await claims(bob, alice) == fallback
    assert await claims(bob, alice) == fallback
    answer = await alice.syncs()
    assert answer["device_unused_fallback_key_types"] == []
    assert answer["org.matrix.msc2732.device_unused_fallback_key_types"] == []
    # The same one again does not make it unused; another one does.
    await alice.post("keys/upload", {"fallback_keys": fallback})
    assert (await alice.syncs())["device_unused_fallback_key_types"] == []
    await alice.post("keys/upload", {"fallback_keys": device.fallback_keys()})
    assert (await alice.syncs())["device_unused_fallback_key_types"] == [SIGNED]


async def test_every_sync_has_the_counts_of_the_device(alice):
    answer = await alice.syncs()
    assert answer["device_one_time_keys_count"] == {SIGNED: 0}
    assert answer["device_unused_fallback_key_types"] == []
    await uploads_keys(alice, one_time=5, with_fallback=True)
    answer = await alice.syncs(answer["next_batch"])
    assert answer["device_one_time_keys_count"] == {SIGNED: 5}
    answer = await alice.syncs(answer["next_batch"])
    assert answer["device_one_time_keys_count"] == {SIGNED: 5}


async def test_a_waiting_device_hears_that_a_key_was_claimed(server, alice, bob):
    await uploads_keys(alice, one_time=5)
    since = await next_batch(alice)
    async with waiting_sync(server, alice, since) as waiting:
        await claims(bob, alice)
        assert (await waiting)["device_one_time_keys_count"] == {SIGNED: 4}


async def test_no_key_is_claimed_twice_by_many_at_once(alice, bob, clients):
    await uploads_keys(alice, one_time=0)
    device = await uploads_keys(alice)
    for _ in range(8):
        await alice.post("keys/upload", {"one_time_keys": device.one_time_keys(50)})
    given = await asyncio.gather(*(claims(bob, alice) for _ in range(410)))
    names = [name for key in given for name in key]
    assert len(names) == 400
    assert len(set(names)) == 400


async def test_a_claim_that_names_several_devices_gives_a_key_of_each(alice, bob, carol):
    first = await uploads_keys(alice, one_time=1)
    second = await uploads_keys(bob, one_time=1)
    wanted = {
        device.user_id: {device.device_id: SIGNED, "NONE": SIGNED} for device in (first, second)
    }
    keys = (await carol.post("keys/claim", {"one_time_keys": wanted}))["one_time_keys"]
    assert {user_id: list(of) for user_id, of in keys.items()} == {
        device.user_id: [device.device_id] for device in (first, second)
    }


async def test_keys_are_gone_with_their_device(alice, bob):
    await uploads_keys(alice, one_time=1, with_fallback=True)
    await alice.post("logout")
    assert (await queries(bob, alice))["device_keys"] == {alice.user_id: {}}
    assert await claims(bob, alice) == {}


async def test_an_olm_session_begins_with_a_claimed_key(alice, bob):
    one, other = await uploads_keys(alice, one_time=1), await uploads_keys(bob)
    ((_, key),) = (await claims(bob, alice)).items()
    keys = (await queries(bob, alice))["device_keys"][alice.user_id][alice.device_id]["keys"]
    identity = keys[f"curve25519:{alice.device_id}"]
    assert identity == one.account.curve25519_key.to_base64()
    curve = type(one.account.curve25519_key)
    session = other.account.create_outbound_session(
        curve.from_base64(identity), curve.from_base64(key["key"])
    )
    message = session.encrypt(b"hello").to_pre_key()
    assert message is not None
    _, text = one.account.create_inbound_session(other.account.curve25519_key, message)
    assert text == b"hello"


def _of(device, **changes):
    return {"device_keys": device.device_keys(**changes)}


def _one_time(device, key, name=f"{SIGNED}:A"):
    return {"device_keys": device.device_keys(), "one_time_keys": {name: key}}


def _uploads(device, stranger):
    """Yield bodies with the refusal of each."""
    keys = device.device_keys()
    signed = next(iter(device.one_time_keys(1).values()))
    of_stranger = next(iter(stranger.one_time_keys(1).values()))
    bad_json, bad_signature = (400, "M_BAD_JSON"), (400, "M_INVALID_SIGNATURE")
    yield {"device_keys": stranger.device_keys()}, bad_json
    yield _of(device, device_id="OTHER"), bad_json
    yield _of(device, keys={}), bad_signature
    yield _of(device, keys={"ed25519:OTHER": "x"}), bad_json
    yield _of(device, keys={**keys["keys"], f"curve25519:{device.device_id}": "short"}), bad_json
    yield _of(device, algorithms="all"), bad_json
    yield {"device_keys": {**keys, "algorithms": []}}, bad_signature
    yield {"device_keys": {**keys, "signatures": {}}}, bad_signature
    yield {"device_keys": {name: keys[name] for name in keys if name != "signatures"}}, bad_json
    yield {"device_keys": []}, bad_json
    yield {"device_keys": "keys"}, bad_json
    yield _of(device, extra="x" * 40_000), (413, "M_TOO_LARGE")
    yield {"one_time_keys": {f"{SIGNED}:A": signed}}, bad_signature
    yield _one_time(device, of_stranger), bad_signature
    yield (
        _one_time(device, {**signed, "key": keys["keys"][f"curve25519:{device.device_id}"]}),
        (bad_signature),
    )
    yield _one_time(device, {**signed, "key": "AAAA"}), bad_json
    yield _one_time(device, {"key": signed["key"]}), bad_json
    yield _one_time(device, signed["key"]), bad_json
    yield _one_time(device, 5), bad_json
    yield _one_time(device, signed, "no colon"), bad_json
    yield _one_time(device, signed, f"{SIGNED}:"), bad_json
    yield (
        _one_time(device, device.signed({"key": signed["key"], "x": "x" * 9_000})),
        (
            413,
            "M_TOO_LARGE",
        ),
    )
    yield {"one_time_keys": []}, bad_json
    many = {f"curve25519:{number}": signed["key"] for number in range(1_001)}
    yield {"one_time_keys": many}, (400, "M_TOO_LARGE")
    two = {f"{SIGNED}:A": signed, f"{SIGNED}:B": signed}
    yield {"device_keys": keys, "fallback_keys": two}, bad_json
    yield {"device_keys": keys, "fallback_keys": {f"{SIGNED}:A": of_stranger}}, bad_signature


async def test_malformed_and_foreign_keys_are_refused(alice, bob):
    device, stranger = device_of(alice), device_of(bob)
    for body, refusal in _uploads(device, stranger):
        assert await answer_of(alice.post("keys/upload", body)) == refusal, json.dumps(body)[:300]
    assert (await queries(bob, alice))["device_keys"] == {alice.user_id: {}}
    assert (await alice.syncs())["device_one_time_keys_count"] == {SIGNED: 0}


async def test_a_key_with_the_id_of_another_that_is_not_claimed_is_refused(alice):
    device = await uploads_keys(alice)
    ((name, key),) = device.one_time_keys(1).items()
    ((_, other),) = device.one_time_keys(1).items()
    await alice.post("keys/upload", {"one_time_keys": {name: key}})
    with refused(400, "M_UNKNOWN"):
        await alice.post("keys/upload", {"one_time_keys": {name: other}})


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("keys/query", {}, (400, "M_MISSING_PARAM")),
        ("keys/query", {"device_keys": []}, (400, "M_BAD_JSON")),
        ("keys/query", {"device_keys": {"alice": []}}, (400, "M_INVALID_PARAM")),
        ("keys/query", {"device_keys": {"@a:hs.example": "D"}}, (400, "M_BAD_JSON")),
        ("keys/query", {"device_keys": {"@a:hs.example": [1]}}, (400, "M_BAD_JSON")),
        ("keys/query", {"device_keys": {}, "timeout": -1}, (400, "M_INVALID_PARAM")),
        ("keys/query", {"device_keys": {}, "timeout": "soon"}, (400, "M_BAD_JSON")),
        ("keys/claim", {}, (400, "M_MISSING_PARAM")),
        ("keys/claim", {"one_time_keys": {"@a:hs.example": ["D"]}}, (400, "M_BAD_JSON")),
        ("keys/claim", {"one_time_keys": {"@a:hs.example": {"D": 1}}}, (400, "M_BAD_JSON")),
        ("keys/claim", {"one_time_keys": {"a": {}}}, (400, "M_INVALID_PARAM")),
        (
            "keys/claim",
            {"one_time_keys": {"@a:hs.example": {f"D{n}": SIGNED for n in range(5_001)}}},
            (400, "M_INVALID_PARAM"),
        ),
    ],
)
async def test_malformed_queries_and_claims_are_refused(alice, path, body, refusal):
    assert await answer_of(alice.post(path, body)) == refusal


async def test_keys_take_an_access_token(clients):
    nobody = clients.nobody()
    for path in ("upload", "query", "claim", "device_signing/upload", "signatures/upload"):
        with refused(401, "M_MISSING_TOKEN"):
            await nobody.post(f"keys/{path}")
