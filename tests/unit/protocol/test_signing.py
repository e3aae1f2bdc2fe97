import json
from copy import deepcopy
from io import StringIO
from pathlib import Path

import pytest
import signedjson.key
import signedjson.sign
import unpaddedbase64
from hypothesis import given, settings
from hypothesis import strategies as st
from signedjson.sign import SignatureVerifyException

from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.errors import BadSignature, InvalidJson, InvalidSigningKey
from homeserver.protocol.hashing import add_content_hash
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of
from homeserver.protocol.signing import (
    add_signature,
    read_signing_key,
    sign_event,
    sign_json,
    signing_key_from_seed,
    verify_bytes,
    verify_event,
    verify_json,
    write_signing_key,
)
from homeserver.protocol.unpadded_base64 import decode_base64, encode_urlsafe_base64

VECTORS = json.loads((Path(__file__).parent / "vectors/signing.json").read_text())
SPEC_KEY = signing_key_from_seed("1", decode_base64(VECTORS["seed"]))
SPEC_SERVER = ServerName(VECTORS["server_name"])
KEY = signing_key_from_seed("a_Xyz9", bytes(range(32)))
SERVER = ServerName("example.org")
ORACLE_KEY = signedjson.key.decode_signing_key_base64(
    "ed25519", "a_Xyz9", unpaddedbase64.encode_base64(bytes(range(32)))
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.text(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=15,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key != "signatures"), JSON, max_size=5)
MEMBER = {
    "type": "m.room.member",
    "sender": "@alice:example.org",
    "content": {"membership": "join", "displayname": "Alice"},
    "depth": 1,
    "hashes": {"sha256": "x"},
    "unsigned": {"age": 1},
}


def verify(obj, **changes):
    asked = {"server_name": SERVER, "key_id": KEY.key_id, "verify_key": KEY.verify_key, **changes}
    verify_json(obj, **asked)


@pytest.mark.parametrize(("plain", "signed"), VECTORS["json"])
def test_the_signed_objects_of_the_specification_hold(plain, signed):
    assert sign_json(plain, SPEC_SERVER, SPEC_KEY) == signed
    verify_json(signed, SPEC_SERVER, SPEC_KEY.key_id, SPEC_KEY.verify_key)


@pytest.mark.parametrize(("plain", "signed"), VECTORS["events"])
def test_the_signed_events_of_the_specification_hold(plain, signed):
    rules = rules_of("1")

    assert sign_event(add_content_hash(plain, rules), rules, SPEC_SERVER, SPEC_KEY) == signed
    verify_event(signed, rules, SPEC_SERVER, SPEC_KEY.key_id, SPEC_KEY.verify_key)


def test_the_key_of_the_specification_has_its_key_id():
    assert SPEC_KEY.key_id == VECTORS["key_id"]


@settings(deadline=None)
@given(OBJECTS)
def test_signing_agrees_with_the_signedjson_library(obj):
    signed = sign_json(obj, SERVER, KEY)

    assert signed == signedjson.sign.sign_json(deepcopy(obj), SERVER, ORACLE_KEY)
    verify(signed)


@settings(deadline=None)
@given(OBJECTS)
def test_the_signedjson_library_accepts_our_signatures(obj):
    signed = sign_json(obj, SERVER, KEY)

    signedjson.sign.verify_signed_json(signed, SERVER, signedjson.key.get_verify_key(ORACLE_KEY))


@settings(deadline=None)
@given(OBJECTS, st.text(min_size=1).filter(lambda key: key not in ("signatures", "unsigned")), JSON)
def test_a_changed_object_is_refused_by_both(obj, key, value):
    signed = sign_json(obj, SERVER, KEY)
    changed = {**signed, key: [value, signed.get(key)]}

    with pytest.raises(BadSignature):
        verify(changed)
    with pytest.raises(SignatureVerifyException):
        signedjson.sign.verify_signed_json(
            changed, SERVER, signedjson.key.get_verify_key(ORACLE_KEY)
        )


def test_signing_leaves_the_original_alone_and_keeps_what_is_not_covered():
    obj = {
        "a": 1,
        "unsigned": {"age": 5},
        "signatures": {"other.org": {"ed25519:x": "s"}, SERVER: {"ed25519:y": "t"}},
    }
    before = deepcopy(obj)

    signed = sign_json(obj, SERVER, KEY)

    assert obj == before
    assert signed["unsigned"] == {"age": 5}
    assert signed["signatures"]["other.org"] == {"ed25519:x": "s"}
    assert signed["signatures"][SERVER]["ed25519:y"] == "t"
    assert (
        signed["signatures"][SERVER][KEY.key_id]
        == sign_json({"a": 1}, SERVER, KEY)["signatures"][SERVER][KEY.key_id]
    )


@pytest.mark.parametrize("signatures", [None, [], "x", {SERVER: None}, {SERVER: ["x"]}])
def test_malformed_signatures_cannot_be_added_to(signatures):
    with pytest.raises(InvalidJson):
        sign_json({"signatures": signatures}, SERVER, KEY)
    with pytest.raises(InvalidJson):
        sign_event({"signatures": signatures}, rules_of("10"), SERVER, KEY)


def test_the_signature_of_another_key_is_added_as_given():
    signed = sign_event(MEMBER, rules_of("10"), SERVER, KEY)

    twice = add_signature(
        signed, ServerName("policy.example"), KeyID("ed25519:policy_server"), "sig"
    )

    assert twice["signatures"] == {
        **signed["signatures"],
        "policy.example": {"ed25519:policy_server": "sig"},
    }


@pytest.mark.parametrize("obj", [{"a": float("nan")}, {"a": "\ud800"}])
def test_what_has_no_encoding_is_neither_signed_nor_verified(obj):
    with pytest.raises(InvalidJson):
        sign_json(obj, SERVER, KEY)
    with pytest.raises(BadSignature):
        verify({**obj, "signatures": sign_json({}, SERVER, KEY)["signatures"]})


def test_an_event_that_its_room_version_cannot_encode_is_neither_signed_nor_verified():
    pdu = {**MEMBER, "depth": 1.5}

    with pytest.raises(InvalidJson):
        sign_event(pdu, rules_of("6"), SERVER, KEY)
    signed = sign_event(pdu, rules_of("5"), SERVER, KEY)
    verify_event(signed, rules_of("5"), SERVER, KEY.key_id, KEY.verify_key)
    with pytest.raises(BadSignature):
        verify_event(signed, rules_of("6"), SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_an_event_signature_survives_redaction(version):
    rules = rules_of(version)
    signed = sign_event(MEMBER, rules, SERVER, KEY)

    verify_event(signed, rules, SERVER, KEY.key_id, KEY.verify_key)
    verify_event(redact(signed, rules), rules, SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_the_signedjson_library_accepts_our_event_signatures(version):
    signed = redact(sign_event(MEMBER, rules_of(version), SERVER, KEY), rules_of(version))

    signedjson.sign.verify_signed_json(signed, SERVER, signedjson.key.get_verify_key(ORACLE_KEY))


@pytest.mark.parametrize(
    "change", [{"depth": 2}, {"content": {"membership": "leave"}}, {"hashes": {}}]
)
def test_a_changed_event_is_refused(change):
    signed = sign_event(MEMBER, rules_of("10"), SERVER, KEY)

    with pytest.raises(BadSignature):
        verify_event({**signed, **change}, rules_of("10"), SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize(
    "changes",
    [
        {"server_name": "other.org"},
        {"key_id": "ed25519:other"},
        {"key_id": "curve25519:a_Xyz9"},
        {"key_id": "ed25519"},
        {"verify_key": SPEC_KEY.verify_key},
        {"verify_key": ""},
        {"verify_key": "AAAA"},
        {"verify_key": "no base64!"},
        {"verify_key": "A" * 43},
    ],
)
def test_a_signature_verifies_only_as_what_it_is(changes):
    signed = sign_json({"a": 1}, SERVER, KEY)

    verify(signed)
    with pytest.raises(BadSignature):
        verify(signed, **changes)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        "x",
        {SERVER: None},
        {SERVER: []},
        {SERVER: {KEY.key_id: None}},
        {SERVER: {KEY.key_id: 1}},
        {SERVER: {KEY.key_id: ""}},
        {SERVER: {KEY.key_id: "no base64!"}},
        {SERVER: {KEY.key_id: "A" * 85}},
        {SERVER: {KEY.key_id: "A" * 86}},
        {SERVER: {KEY.key_id: "A" * 1_000}},
    ],
)
def test_malformed_signatures_are_refused(signatures):
    with pytest.raises(BadSignature):
        verify({"a": 1, "signatures": signatures})
    with pytest.raises(BadSignature):
        verify({"a": 1})


def test_an_unknown_algorithm_is_refused_even_where_the_signature_would_match():
    signature = KEY.sign(encode_canonical({}))

    with pytest.raises(BadSignature):
        verify({"signatures": {SERVER: {"rsa:1": signature}}}, key_id="rsa:1")


def test_keys_in_url_safe_base64_verify_too():
    seeds = (bytes([number]) * 32 for number in range(256))
    key = next(
        key for key in (signing_key_from_seed("1", seed) for seed in seeds) if "/" in key.verify_key
    )
    urlsafe = encode_urlsafe_base64(decode_base64(key.verify_key))

    assert urlsafe != key.verify_key
    verify_bytes(b"message", key.sign(b"message"), urlsafe)


def test_a_key_is_written_as_signedjson_writes_it_and_read_back():
    stream = StringIO()
    signedjson.key.write_signing_keys(stream, [ORACLE_KEY])

    assert write_signing_key(KEY) == stream.getvalue()
    assert read_signing_key(stream.getvalue()) == KEY


def test_signedjson_reads_what_we_write():
    (key,) = signedjson.key.read_signing_keys([write_signing_key(KEY)])

    assert key.version == "a_Xyz9"
    assert unpaddedbase64.encode_base64(key.verify_key.encode()) == KEY.verify_key
    assert key.encode() == KEY.seed == bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519 a",
        "rsa a AAAA",
        f"ed25519 a {'A' * 43} more",
        f"ed25519 a {'A' * 43}\ned25519 b {'A' * 43}",
        "ed25519 a not-base64!",
        "ed25519 a AAAA",
        f"ed25519 a:b {'A' * 43}",
        f"ed25519 ä {'A' * 43}",
    ],
)
def test_what_is_not_one_key_is_refused(text):
    with pytest.raises(InvalidSigningKey):
        read_signing_key(text)


@pytest.mark.parametrize(
    ("version", "seed"),
    [("", bytes(32)), ("a-b", bytes(32)), ("a\n", bytes(32)), ("a", bytes(31)), ("a", bytes(64))],
)
def test_a_key_is_made_of_a_proper_version_and_32_bytes(version, seed):
    with pytest.raises(InvalidSigningKey):
        signing_key_from_seed(version, seed)


def test_a_key_shows_no_secret_and_cannot_be_changed():
    shown = repr(KEY)

    assert KEY.key_id in shown
    assert repr(KEY.seed)[2:20] not in shown
    assert unpaddedbase64.encode_base64(KEY.seed) not in shown
    with pytest.raises(AttributeError):
        KEY.key_id = "ed25519:b"
