import pytest

from homeserver.protocol.device_keys import (
    InvalidKeys,
    Usage,
    add_signatures,
    is_same_key,
    parse_cross_signing_key,
    parse_device_keys,
    parse_fallback_keys,
    parse_one_time_keys,
    signatures_of,
    verify_cross_signature,
    verify_device_signature,
    verify_self_signature,
    visible_to,
)
from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import DeviceID, KeyID, UserID
from homeserver.protocol.signing import add_signature, sign_json, signing_key_from_seed

ALICE, BOB = UserID("@alice:example.com"), UserID("@bob:example.com")
DEVICE = DeviceID("JLAFKJWSCS")
DEVICE_KEY = signing_key_from_seed(DEVICE, b"d" * 32)
MASTER_KEY = signing_key_from_seed("x", b"m" * 32)


def device_keys(**changes):
    source = {
        "user_id": ALICE,
        "device_id": DEVICE,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            f"curve25519:{DEVICE}": "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI",
            f"ed25519:{DEVICE}": DEVICE_KEY.verify_key,
        },
        "signatures": {ALICE: {f"ed25519:{DEVICE}": "unchecked"}},
    } | changes
    return {name: value for name, value in source.items() if value is not None}


def cross_signing_key(key=MASTER_KEY.verify_key, **changes):
    return {"user_id": ALICE, "usage": ["master"], "keys": {f"ed25519:{key}": key}} | changes


def test_device_keys_are_read_and_kept_as_they_came():
    source = device_keys(**{"org.example.more": [1]})
    keys = parse_device_keys(source, ALICE, DEVICE)
    assert keys.signing_key == DEVICE_KEY.verify_key
    assert keys.algorithms == ("m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2")
    assert keys.source == source


def test_a_device_need_not_have_a_signing_key():
    assert parse_device_keys(device_keys(keys={}), ALICE, DEVICE).signing_key is None


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": BOB},
        {"device_id": "OTHER"},
        {"user_id": None},
        {"algorithms": None},
        {"keys": None},
        {"signatures": None},
        {"algorithms": [1]},
        {"keys": {"ed25519:OTHER": "k"}},
        {"keys": {DEVICE: "k"}},
        {"keys": {f":{DEVICE}": "k"}},
        {"keys": {f"ed25519:{DEVICE}": 1}},
        {"signatures": {ALICE: "s"}},
        {"signatures": {ALICE: {"ed25519:x": 1}}},
    ],
)
def test_device_keys_against_the_schema_are_refused(changes):
    with pytest.raises(InvalidKeys):
        parse_device_keys(device_keys(**changes), ALICE, DEVICE)


def test_keys_that_are_no_object_are_refused():
    for parse in (
        lambda: parse_device_keys([], ALICE, DEVICE),
        lambda: parse_one_time_keys([]),
        lambda: parse_fallback_keys("x"),
        lambda: parse_cross_signing_key(None, ALICE, Usage.MASTER),
    ):
        with pytest.raises(InvalidKeys):
            parse()


def test_a_device_signs_its_own_keys():
    signed = sign_json(device_keys(signatures={}), ALICE, DEVICE_KEY)
    verify_self_signature(parse_device_keys(signed, ALICE, DEVICE))
    for forged in (signed | {"algorithms": []}, device_keys(), signed | {"keys": {}}):
        with pytest.raises(BadSignature):
            verify_self_signature(parse_device_keys(forged, ALICE, DEVICE))


def test_one_time_keys_are_read_in_the_order_of_upload():
    key = "zKbLg+NrIjpnagy+pIY6uPL4ZwEG2v+8F9lmgsnlZzs"
    signed = {"key": key, "signatures": {ALICE: {"ed25519:D": "s"}}}
    source = {"signed_curve25519:BBB": signed, "signed_curve25519:AAA": signed, "x:1": "plain"}
    assert list(parse_one_time_keys(source).items()) == [
        (("signed_curve25519", "BBB"), signed),
        (("signed_curve25519", "AAA"), signed),
        (("x", "1"), "plain"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        {"signed_curve25519": "k"},
        {":AAA": "k"},
        {"x:": "k"},
        {"x:\0": "k"},
        {"x:" + "A" * 256: "k"},
        {"x:1": 1},
        {"x:1": {"key": "k"}},
        {"x:1": {"signatures": {}}},
        {"x:1": {"key": 1, "signatures": {}}},
        {"x:1": {"key": "k", "signatures": {}, "fallback": "yes"}},
    ],
)
def test_one_time_keys_against_the_schema_are_refused(source):
    with pytest.raises(InvalidKeys):
        parse_one_time_keys(source)
    with pytest.raises(InvalidKeys):
        parse_fallback_keys(source)


def test_one_fallback_key_is_kept_of_each_algorithm():
    key = "zKbLg+NrIjpnagy+pIY6uPL4ZwEG2v+8F9lmgsnlZzs"
    signed = {"key": key, "signatures": {}, "fallback": True}
    source = {"signed_curve25519:AAA": signed, "x:1": "plain"}
    assert parse_fallback_keys(source) == {
        "signed_curve25519": ("AAA", signed),
        "x": ("1", "plain"),
    }
    with pytest.raises(InvalidKeys):
        parse_fallback_keys(source | {"signed_curve25519:BBB": signed})


def test_a_cross_signing_key_is_named_by_itself():
    key = parse_cross_signing_key(cross_signing_key(), ALICE, Usage.MASTER)
    assert key.public_key == MASTER_KEY.verify_key
    assert key.key_id == f"ed25519:{MASTER_KEY.verify_key}"
    assert key.source == cross_signing_key()


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": BOB},
        {"usage": ["self_signing"]},
        {"usage": []},
        {"usage": "master"},
        {"keys": {}},
        {"keys": {"ed25519:a": "a", "ed25519:b": "b"}},
        {"keys": {"ed25519:other": MASTER_KEY.verify_key}},
        {"keys": {"ed25519:short": "short"}},
        {"keys": {"ed25519:no base64!": "no base64!"}},
        {"signatures": []},
    ],
)
def test_a_cross_signing_key_against_the_schema_is_refused(changes):
    with pytest.raises(InvalidKeys):
        parse_cross_signing_key(cross_signing_key(**changes), ALICE, Usage.MASTER)


def test_the_master_key_signs_the_others():
    master = parse_cross_signing_key(cross_signing_key(), ALICE, Usage.MASTER)
    other = cross_signing_key("k" * 43, usage=["self_signing"])
    # Signatures by a cross-signing key stand under its own name.
    signature = sign_json(other, ALICE, MASTER_KEY)["signatures"][ALICE]["ed25519:x"]
    signed = add_signature(other, ALICE, KeyID(master.key_id), signature)
    verify_cross_signature(signed, master)
    for forged in (signed | {"usage": ["user_signing"]}, other):
        with pytest.raises(BadSignature):
            verify_cross_signature(forged, master)


def test_a_device_may_sign_the_master_key():
    device = parse_device_keys(device_keys(), ALICE, DEVICE)
    verify_device_signature(sign_json(cross_signing_key(), ALICE, DEVICE_KEY), device)
    keyless = parse_device_keys(device_keys(keys={}), ALICE, DEVICE)
    with pytest.raises(BadSignature):
        verify_device_signature(sign_json(cross_signing_key(), ALICE, DEVICE_KEY), keyless)


def test_new_signatures_belong_to_the_same_key_only():
    stored = device_keys(unsigned={"device_display_name": "x"})
    assert is_same_key(stored, device_keys(signatures={BOB: {}}))
    assert not is_same_key(stored, device_keys(algorithms=[]))
    assert not is_same_key({"n": 1}, {"n": True})


def test_signatures_are_added_to_those_that_are_there():
    source = {"signatures": {ALICE: {"ed25519:a": "1"}}, "n": 1}
    signed = add_signatures(source, {ALICE: {"ed25519:b": "2"}, BOB: {"ed25519:c": "3"}})
    assert signed == {
        "signatures": {ALICE: {"ed25519:a": "1", "ed25519:b": "2"}, BOB: {"ed25519:c": "3"}},
        "n": 1,
    }
    assert source["signatures"] == {ALICE: {"ed25519:a": "1"}}


@pytest.mark.parametrize("signatures", [None, [], "x"])
def test_signatures_against_the_schema_count_for_nothing(signatures):
    assert signatures_of({"signatures": signatures}) == {}
    assert signatures_of({"signatures": {ALICE: signatures, BOB: {"a": 1, "b": "2"}}}) == {
        BOB: {"b": "2"}
    }


def test_nobody_sees_whom_others_have_verified():
    carol = UserID("@carol:example.com")
    source = {"signatures": {ALICE: {"a": "1"}, BOB: {"b": "2"}, carol: {"c": "3"}}}
    assert set(visible_to(source, ALICE, BOB)["signatures"]) == {ALICE, BOB}
    assert set(visible_to(source, ALICE, ALICE)["signatures"]) == {ALICE}
    assert set(visible_to(source, ALICE, None)["signatures"]) == {ALICE}
