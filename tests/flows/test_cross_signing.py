"""Spec: client-server-api/#cross-signing"""

import asyncio
import json
from typing import Any

import pytest

from tests.support.client import Refusal, answer_of, refused
from tests.support.key_uploads import CrossSigner, device_of, queries, uploads_keys

UPLOAD = "keys/device_signing/upload"
SIGNATURES = "keys/signatures/upload"
PASSWORD = "wordpass-1"
INVALID = (400, "M_INVALID_SIGNATURE")


async def has_cross_signing(client) -> CrossSigner:
    """Give a user cross-signing keys."""
    signer = CrossSigner(client.user_id)
    assert await client.post(UPLOAD, signer.keys) == {}
    return signer


async def proves(client, path: str, body: dict[str, Any]) -> Any:
    """Send a request that has to be confirmed with the password."""
    with pytest.raises(Refusal) as caught:
        await client.post(path, body)
    assert caught.value.status == 401
    identifier = {"type": "m.id.user", "user": client.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    session = caught.value.body["session"]
    return await client.post(path, {**body, "auth": {**auth, "session": session}})


async def signs(client, target: str, name: str, source: dict[str, Any]) -> Any:
    return (await client.post(SIGNATURES, {target: {name: source}}))["failures"]


async def next_batch(client):
    return (await client.syncs())["next_batch"]


async def test_everybody_sees_the_keys_but_only_the_owner_the_user_signing_key(alice, bob):
    signer = await has_cross_signing(alice)
    told = await queries(bob, alice)
    assert told["master_keys"] == {
        alice.user_id: {**signer.master_key, "signatures": {alice.user_id: {}}}
    }
    assert told["self_signing_keys"] == {alice.user_id: signer.self_signing_key}
    assert told["user_signing_keys"] == {}
    own = await queries(alice, alice)
    assert own["user_signing_keys"] == {alice.user_id: signer.user_signing_key}


@pytest.mark.parametrize("prefix", ["v3", "r0", "unstable"])
async def test_the_first_keys_and_the_same_again_need_no_confirmation(alice, prefix):
    signer = CrossSigner(alice.user_id)
    for keys in (signer.keys, signer.keys, {"master_key": signer.master_key}):
        assert await alice.post(f"/_matrix/client/{prefix}/{UPLOAD}", keys) == {}


async def test_other_keys_need_confirmation(alice, bob):
    first = await has_cross_signing(alice)
    other = CrossSigner(alice.user_id)
    assert await proves(alice, UPLOAD, other.keys) == {}
    told = await queries(bob, alice)
    assert told["self_signing_keys"] == {alice.user_id: other.self_signing_key}
    again = CrossSigner(alice.user_id)
    body = {
        "self_signing_key": other.signs_as_master(
            {name: each for name, each in again.self_signing_key.items() if name != "signatures"}
        )
    }
    assert await proves(alice, UPLOAD, body) == {}
    assert (await queries(bob, alice))["self_signing_keys"][alice.user_id] == body[
        "self_signing_key"
    ]
    assert first.public_key not in json.dumps(await queries(alice, alice))


async def test_a_user_signing_key_may_follow_but_not_without_confirmation(alice):
    signer = CrossSigner(alice.user_id)
    first = {"master_key": signer.master_key, "self_signing_key": signer.self_signing_key}
    await alice.post(UPLOAD, first)
    with pytest.raises(Refusal) as caught:
        await alice.post(UPLOAD, {"user_signing_key": signer.user_signing_key})
    assert caught.value.status == 401
    await proves(alice, UPLOAD, {"user_signing_key": signer.user_signing_key})
    told = await queries(alice, alice)
    assert told["user_signing_keys"] == {alice.user_id: signer.user_signing_key}


async def test_a_wrong_password_replaces_nothing(alice, bob):
    signer = await has_cross_signing(alice)
    identifier = {"type": "m.id.user", "user": alice.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "wrong"}
    with refused(401, "M_FORBIDDEN"):
        await alice.post(UPLOAD, {**CrossSigner(alice.user_id).keys, "auth": auth})
    told = await queries(bob, alice)
    assert told["self_signing_keys"] == {alice.user_id: signer.self_signing_key}


async def test_with_a_new_master_key_all_that_the_old_ones_have_signed_is_void(alice, bob):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    other = await has_cross_signing(bob)
    await signs(alice, alice.user_id, alice.device_id, signer.signs_device(device.device_keys()))
    await signs(alice, bob.user_id, other.public_key, signer.signs_user(other.master_key))
    await proves(alice, UPLOAD, {"master_key": CrossSigner(alice.user_id).master_key})
    told = await queries(alice, alice, bob)
    assert told["self_signing_keys"].keys() == {bob.user_id}
    assert told["user_signing_keys"] == {}
    assert told["device_keys"][alice.user_id][alice.device_id] == device.device_keys()
    assert told["master_keys"][bob.user_id]["signatures"] == {bob.user_id: {}}


async def test_keys_that_stay_under_a_new_master_key_have_its_signature(alice):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    signed = signer.signs_device(device.device_keys())
    await signs(alice, alice.user_id, alice.device_id, signed)
    other = CrossSigner(alice.user_id)
    stay = {
        name: other.signs_as_master({**signer.keys[name], "signatures": {}})
        for name in ("self_signing_key", "user_signing_key")
    }
    await proves(alice, UPLOAD, {"master_key": other.master_key, **stay})
    told = await queries(alice, alice)
    assert told["self_signing_keys"] == {alice.user_id: stay["self_signing_key"]}
    assert told["user_signing_keys"] == {alice.user_id: stay["user_signing_key"]}
    assert told["device_keys"][alice.user_id][alice.device_id] == signed


async def test_a_device_can_be_signed_and_everybody_sees_it(alice, bob):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    signed = signer.signs_device(device.device_keys())
    assert await signs(alice, alice.user_id, alice.device_id, signed) == {}
    told = (await queries(bob, alice))["device_keys"]
    assert told == {alice.user_id: {alice.device_id: signed}}
    # An upload of the keys as the device has them does not take the signature away.
    await alice.post("keys/upload", {"device_keys": device.device_keys()})
    assert (await queries(bob, alice))["device_keys"] == told


async def test_a_device_may_come_with_the_signature_of_its_user(alice, bob):
    signer, device = await has_cross_signing(alice), device_of(alice)
    signed = signer.signs_device(device.device_keys())
    await alice.post("keys/upload", {"device_keys": signed})
    told = (await queries(bob, alice))["device_keys"]
    assert told == {alice.user_id: {alice.device_id: signed}}


async def test_devices_sign_the_master_key(alice, bob):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    signed = device.signed(signer.master_key)
    assert await signs(alice, alice.user_id, signer.public_key, signed) == {}
    assert (await queries(bob, alice))["master_keys"] == {alice.user_id: signed}


async def test_a_master_key_may_come_with_the_signature_of_a_device(alice, bob):
    device, signer = await uploads_keys(alice), CrossSigner(alice.user_id)
    signed = device.signed(signer.master_key)
    await alice.post(UPLOAD, {"master_key": signed})
    assert (await queries(bob, alice))["master_keys"] == {alice.user_id: signed}


async def test_whom_a_user_has_verified_only_the_user_sees(alice, bob, carol):
    signer, other = await has_cross_signing(alice), await has_cross_signing(bob)
    signed = signer.signs_user(other.master_key)
    assert await signs(alice, bob.user_id, other.public_key, signed) == {}
    seen = (await queries(alice, bob))["master_keys"][bob.user_id]
    assert seen["signatures"][alice.user_id] == signed["signatures"][alice.user_id]
    for client in (bob, carol):
        seen = (await queries(client, bob))["master_keys"][bob.user_id]
        assert seen["signatures"] == {bob.user_id: {}}


async def test_the_signers_other_clients_hear_of_a_signature_once(alice, bob, carol):
    signer, other = await has_cross_signing(alice), await has_cross_signing(bob)
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    since, bobs = await next_batch(alice), await next_batch(bob)
    signed = signer.signs_user(other.master_key)
    for _ in range(2):
        assert await signs(alice, bob.user_id, other.public_key, signed) == {}
    answer = await alice.syncs(since)
    assert answer["device_lists"]["changed"] == [bob.user_id]
    await signs(alice, bob.user_id, other.public_key, signed)
    assert "device_lists" not in await alice.syncs(answer["next_batch"])
    assert "device_lists" not in await bob.syncs(bobs)


async def test_wrong_keys_are_refused_before_any_confirmation(alice, bob):
    first, device = await has_cross_signing(alice), device_of(alice)
    signer, stranger = CrossSigner(alice.user_id), CrossSigner(bob.user_id)
    master = signer.master_key
    unsigned = {k: v for k, v in signer.self_signing_key.items() if k != "signatures"}
    bad_json = (400, "M_BAD_JSON")
    for body, refusal in (
        ({}, (400, "M_MISSING_PARAM")),
        ({"master_key": stranger.master_key}, bad_json),
        ({"master_key": {**master, "usage": ["self_signing"]}}, bad_json),
        ({"master_key": {**master, "keys": {"ed25519:x": "x"}}}, bad_json),
        ({"master_key": {**master, "keys": {**master["keys"], "ed25519:x": "x"}}}, bad_json),
        ({"master_key": {**master, "keys": {"ed25519:other": signer.public_key}}}, bad_json),
        ({"master_key": "key"}, bad_json),
        ({"master_key": {**master, "x": "x" * 70_000}}, (413, "M_TOO_LARGE")),
        ({"self_signing_key": signer.self_signing_key}, INVALID),
        ({"user_signing_key": signer.user_signing_key}, INVALID),
        ({"master_key": master, "self_signing_key": unsigned}, INVALID),
        ({"master_key": master, "self_signing_key": first.signs_as_master(unsigned)}, INVALID),
        ({"self_signing_key": device.signed(unsigned)}, INVALID),
    ):
        assert await answer_of(alice.post(UPLOAD, body)) == refusal, json.dumps(body)[:300]
    told = await queries(bob, alice)
    assert told["self_signing_keys"] == {alice.user_id: first.self_signing_key}


async def test_keys_need_a_master_key(alice):
    signer = CrossSigner(alice.user_id)
    with refused(400, "M_MISSING_PARAM"):
        await alice.post(UPLOAD, {"self_signing_key": signer.self_signing_key})


async def test_a_master_key_with_a_wrong_signature_of_a_device_is_refused(alice):
    device = await uploads_keys(alice)
    other = device_of(alice)
    with refused(*INVALID):
        await alice.post(
            UPLOAD, {"master_key": other.signed(CrossSigner(alice.user_id).master_key)}
        )
    assert device.device_id == other.device_id


async def test_no_device_has_the_id_of_a_cross_signing_key(alice, clients):
    signer = await has_cross_signing(alice)
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": PASSWORD,
    }
    with refused(403, "M_FORBIDDEN"):
        await clients.nobody().post("login", {**login, "device_id": signer.public_key})
    other = CrossSigner(alice.user_id)
    await clients.nobody().post("login", {**login, "device_id": other.public_key})
    with refused(403, "M_FORBIDDEN"):
        await alice.post(UPLOAD, {"master_key": other.master_key})


async def test_wrong_signatures_are_failures_one_by_one(alice, bob, carol):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    other = await has_cross_signing(bob)
    bobs = await uploads_keys(bob)
    stranger = CrossSigner(alice.user_id)
    own, their_key = alice.user_id, other.public_key
    signed_device = signer.signs_device(device.device_keys())
    for target, name, source, errcode in (
        (own, alice.device_id, stranger.signs_device(device.device_keys()), INVALID[1]),
        (own, alice.device_id, {**signed_device, "algorithms": []}, "M_INVALID_PARAM"),
        (own, alice.device_id, signer.signs_user(device.device_keys()), INVALID[1]),
        (own, alice.device_id, {**device.device_keys(), "signatures": {}}, INVALID[1]),
        (own, "OTHER", signed_device, "M_NOT_FOUND"),
        (own, signer.public_key, device_of(alice).signed(signer.master_key), INVALID[1]),
        (own, signer.public_key, signer.signs_user(signer.master_key), INVALID[1]),
        (bob.user_id, their_key, stranger.signs_user(other.master_key), INVALID[1]),
        (bob.user_id, their_key, signer.signs_device(other.master_key), INVALID[1]),
        (bob.user_id, their_key, signer.signs_user(stranger.master_key), "M_INVALID_PARAM"),
        (bob.user_id, bob.device_id, signer.signs_user(bobs.device_keys()), "M_NOT_FOUND"),
        (carol.user_id, "key", signer.signs_user(other.master_key), "M_NOT_FOUND"),
        ("@eve:far.example", "key", signer.signs_user(other.master_key), "M_NOT_FOUND"),
    ):
        failures = await signs(alice, target, name, source)
        assert failures[target][name]["errcode"] == errcode, (target, name, failures)
    told = await queries(alice, alice, bob)
    assert told["device_keys"][own][alice.device_id] == device.device_keys()
    assert told["master_keys"][bob.user_id]["signatures"] == {bob.user_id: {}}


async def test_right_signatures_are_taken_beside_wrong_ones(alice, bob):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    signed = signer.signs_device(device.device_keys())
    body = {alice.user_id: {alice.device_id: signed, "OTHER": signed}, "@bob:hs.example": {}}
    failures = (await alice.post(SIGNATURES, body))["failures"]
    assert {user: list(of) for user, of in failures.items()} == {alice.user_id: ["OTHER"]}
    assert (await queries(bob, alice))["device_keys"][alice.user_id][alice.device_id] == signed


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"alice": {}}, (400, "M_INVALID_PARAM")),
        ({"@alice:hs.example": []}, (400, "M_BAD_JSON")),
        ({"@alice:hs.example": {"key": "signed"}}, (400, "M_BAD_JSON")),
        ([], (400, "M_BAD_JSON")),
        ({"@a:hs.example": {str(n): {} for n in range(1_001)}}, (400, "M_INVALID_PARAM")),
    ],
)
async def test_malformed_signatures_are_refused(alice, body, refusal):
    assert await answer_of(alice.post(SIGNATURES, body)) == refusal


async def test_a_deactivated_user_has_no_keys(alice, bob):
    await uploads_keys(alice)
    await has_cross_signing(alice)
    await proves(alice, "account/deactivate", {})
    told = await queries(bob, alice)
    assert told["master_keys"] == told["self_signing_keys"] == {}
    assert told["device_keys"] == {alice.user_id: {}}


async def test_neither_of_two_uploads_at_once_is_lost(alice, bob):
    device, signer = await uploads_keys(alice), await has_cross_signing(alice)
    signed = signer.signs_device(device.device_keys())
    for _ in range(5):
        other = device_of(alice)
        await asyncio.gather(
            signs(alice, alice.user_id, alice.device_id, signed),
            alice.post("keys/upload", {"device_keys": other.device_keys()}),
        )
        told = (await queries(bob, alice))["device_keys"][alice.user_id][alice.device_id]
        assert told == other.device_keys()
        signed = signer.signs_device(told)
