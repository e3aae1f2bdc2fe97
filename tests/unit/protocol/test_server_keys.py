"""Documents with keys: what is believed of them."""

from typing import Any

import pytest

from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.server_keys import (
    MAX_VALIDITY_MS,
    VerifyKey,
    build_key_document,
    read_key_document,
)
from homeserver.protocol.signing import sign_json, signing_key_from_seed

NAME = ServerName("a.example")
KEY = signing_key_from_seed("new", b"\x01" * 32)
OLD = signing_key_from_seed("old", b"\x02" * 32)
NOW = 1_700_000_000_000


def document(**members: Any) -> dict[str, Any]:
    """Return a document whose members were replaced before it was signed."""
    built = build_key_document(
        NAME, KEY, old_keys={"ed25519:old": (OLD.verify_key, NOW - 5)}, valid_until_ts=NOW + 9
    )
    built.pop("signatures")
    return sign_json({**built, **members}, NAME, KEY)


def test_document_tells_current_and_old_keys() -> None:
    read = read_key_document(document(), NAME, NOW)
    assert read.keys == (
        VerifyKey(server_name=NAME, key_id=KEY.key_id, key=KEY.verify_key, valid_until_ts=NOW + 9),
        VerifyKey(
            server_name=NAME,
            key_id=OLD.key_id,
            key=OLD.verify_key,
            valid_until_ts=NOW - 5,
            expired_ts=NOW - 5,
        ),
    )
    assert read.document == document()


def test_current_key_is_valid_until_its_time_and_for_requests() -> None:
    current, old = read_key_document(document(), NAME, NOW).keys
    assert current.is_valid_at(NOW + 9)
    assert not current.is_valid_at(NOW + 10)
    assert current.may_sign_requests(NOW + 9)
    assert not current.may_sign_requests(NOW + 10)
    assert old.is_valid_at(NOW - 5)
    assert not old.is_valid_at(NOW - 4)
    assert not old.may_sign_requests(NOW - 6)


def test_validity_is_seven_days_at_most() -> None:
    read = read_key_document(document(valid_until_ts=NOW + 2 * MAX_VALIDITY_MS), NAME, NOW)
    assert read.keys[0].valid_until_ts == NOW + MAX_VALIDITY_MS


def test_padded_keys_and_other_algorithms_are_taken_as_they_should_be() -> None:
    keys = {
        "ed25519:new": {"key": KEY.verify_key + "="},
        "ed448:x": {"key": "whatever"},
    }
    read = read_key_document(document(verify_keys=keys, old_verify_keys={}), NAME, NOW)
    assert [(key.key_id, key.key) for key in read.keys] == [(KEY.key_id, KEY.verify_key)]


@pytest.mark.parametrize(
    "members",
    [
        {"server_name": "b.example"},
        {"valid_until_ts": None},
        {"valid_until_ts": "1"},
        {"valid_until_ts": True},
        {"valid_until_ts": -1},
        {"valid_until_ts": 2**53},
        {"verify_keys": {}},
        {"verify_keys": []},
        {"verify_keys": {"ed25519:new": KEY.verify_key}},
        {"verify_keys": {"ed25519:new": {"key": "short"}}},
        {"verify_keys": {"ed25519:new": {"key": 5}}},
        {"verify_keys": {"ed25519:new": {"key": OLD.verify_key}}},
        {"verify_keys": {"ed25519:other": {"key": OLD.verify_key}}},
        {"verify_keys": {f"ed25519:{n}": {"key": KEY.verify_key} for n in range(51)}},
        {"old_verify_keys": {"ed25519:old": {"key": OLD.verify_key}}},
        {"old_verify_keys": {"ed25519:old": {"key": OLD.verify_key, "expired_ts": "x"}}},
        {"old_verify_keys": "none"},
    ],
)
def test_malformed_document_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        read_key_document(document(**members), NAME, NOW)


@pytest.mark.parametrize(
    "signatures",
    [{}, None, {"b.example": {}}, {NAME: {"ed25519:old": "AB"}}, {NAME: {"ed25519:new": "AB"}}],
)
def test_document_that_its_keys_have_not_signed_is_refused(signatures: Any) -> None:
    with pytest.raises(BadSignature):
        read_key_document({**document(), "signatures": signatures}, NAME, NOW)


def test_changed_document_is_refused() -> None:
    with pytest.raises(BadSignature):
        read_key_document({**document(), "valid_until_ts": NOW + 10}, NAME, NOW)


def test_one_wrong_signature_among_good_ones_is_refused() -> None:
    keys = {each.key_id: {"key": each.verify_key} for each in (KEY, OLD)}
    signed = document(verify_keys=keys, old_verify_keys={})
    signed["signatures"][NAME][OLD.key_id] = signed["signatures"][NAME][KEY.key_id]
    with pytest.raises(BadSignature):
        read_key_document(signed, NAME, NOW)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(BadSignature):
        read_key_document(value, NAME, NOW)
