"""The documents in which servers publish their keys.

Spec: server-server-api/#publishing-keys
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.protocol.canonical_json import MAX_INTEGER
from homeserver.protocol.errors import BadSignature, InvalidBase64
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.signing import SigningKey, sign_json, verify_json
from homeserver.protocol.unpadded_base64 import decode_base64, encode_base64

# server-server-api/#get_matrixkeyv2server: "Servers MUST use the lesser of this field and 7 days
# into the future when determining if a key is valid."
MAX_VALIDITY_MS: Final = 7 * 24 * 60 * 60 * 1000
# Servers have one key or two, and few old ones.
MAX_KEYS: Final = 50
_PUBLIC_KEY_BYTES: Final = 32
_MAX_KEY_ID: Final = 255


class VerifyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key of a server and how long it counts; times in milliseconds since 1970."""

    server_name: ServerName
    key_id: KeyID
    # Unpadded base64.
    key: str
    valid_until_ts: int
    # Set for old keys: "only valid for signing events", until then.
    expired_ts: int | None = None

    def is_valid_at(self, ts: int) -> bool:
        """Whether events of that time may be signed with the key."""
        return ts <= (self.valid_until_ts if self.expired_ts is None else self.expired_ts)

    def may_sign_requests(self, now_ms: int) -> bool:
        """Whether a request may be signed with the key now."""
        return self.expired_ts is None and now_ms <= self.valid_until_ts


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A checked document of a server."""

    server_name: ServerName
    keys: tuple[VerifyKey, ...]
    # As the server has signed it, perhaps with signatures of notaries.
    document: JsonObject


def build_key_document(
    server_name: ServerName,
    key: SigningKey,
    *,
    old_keys: Mapping[str, tuple[str, int]],
    valid_until_ts: int,
) -> JsonObject:
    """Return the document of this server; `old_keys` are public key and expiry by key ID."""
    document: JsonObject = {
        "server_name": server_name,
        "valid_until_ts": valid_until_ts,
        "verify_keys": {key.key_id: {"key": key.verify_key}},
        "old_verify_keys": {
            key_id: {"key": old, "expired_ts": expired_ts}
            for key_id, (old, expired_ts) in old_keys.items()
        },
    }
    return sign_json(document, server_name, key)


def read_key_document(document: JsonValue, server_name: ServerName, now_ms: int) -> KeyDocument:
    """Check that a server has signed a document, and read its keys.

    At least one of `verify_keys` must have signed it, and none of them wrongly. Keys of other
    algorithms are left out. Raises BadSignature: it is not of this form, or not signed so.
    """
    if not isinstance(document, dict) or document.get("server_name") != server_name:
        raise BadSignature("the keys are not of the server that was asked for")
    valid_until_ts = _read_time(document, "valid_until_ts")
    current = _read_keys(document.get("verify_keys"))
    old = _read_keys(document.get("old_verify_keys", {}))
    _check_self_signed(document, server_name, current)
    last_ts = min(valid_until_ts, now_ms + MAX_VALIDITY_MS)
    keys = [
        VerifyKey(
            server_name=server_name,
            key_id=KeyID(key_id),
            key=_read_key(of_key),
            valid_until_ts=last_ts,
        )
        for key_id, of_key in current.items()
    ]
    keys += [
        VerifyKey(
            server_name=server_name,
            key_id=KeyID(key_id),
            key=_read_key(of_key),
            valid_until_ts=min(_read_time(of_key, "expired_ts"), last_ts),
            expired_ts=_read_time(of_key, "expired_ts"),
        )
        for key_id, of_key in old.items()
        if key_id not in current
    ]
    return KeyDocument(server_name=server_name, keys=tuple(keys), document=document)


def _check_self_signed(
    document: JsonObject, server_name: ServerName, keys: Mapping[str, JsonObject]
) -> None:
    signatures = document.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signed_with = [key_id for key_id in keys if isinstance(of_server, dict) and key_id in of_server]
    if not signed_with:
        raise BadSignature("none of the keys has signed the document")
    for key_id in signed_with:
        verify_json(document, server_name, key_id, _read_key(keys[key_id]))


def _read_keys(value: JsonValue) -> dict[str, JsonObject]:
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        raise BadSignature("verify_keys and old_verify_keys must be objects with few members")
    keys = {
        key_id: of_key
        for key_id, of_key in value.items()
        if key_id.startswith("ed25519:") and len(key_id) <= _MAX_KEY_ID and "\0" not in key_id
    }
    if not all(isinstance(of_key, dict) for of_key in keys.values()):
        raise BadSignature("a key must be an object")
    return keys


def _read_key(of_key: JsonObject) -> str:
    """Return a public key in the one form in which it is compared and kept."""
    key = of_key.get("key")
    try:
        raw = decode_base64(key) if isinstance(key, str) else b""
    except InvalidBase64:
        raw = b""
    if len(raw) != _PUBLIC_KEY_BYTES:
        raise BadSignature("a key must be 32 bytes in base64")
    return encode_base64(raw)


def _read_time(holder: JsonObject, name: str) -> int:
    value = holder.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise BadSignature(f"{name} must be a time in milliseconds")
    return value
