"""Key objects as they are stored: what is signed, and the signatures, each as JSON."""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.protocol.device_keys import (
    CrossSigningKey,
    DeviceKeys,
    Signatures,
    parse_cross_signing_key,
    parse_device_keys,
)
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.storage.cross_signing import CrossSigningRow
from homeserver.storage.device_keys import StoredKey

encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(JsonObject).decode
_decode_signatures: Final = msgspec.json.Decoder(dict[str, dict[str, str]]).decode


def stored_key(source: JsonObject, owner: UserID, signatures: Mapping[str, str]) -> StoredKey:
    """Take a key object apart; `signatures` are those that its owner's keys have made of it."""
    signed = {name: value for name, value in source.items() if name not in _AROUND}
    return StoredKey(encode(signed), encode({owner: dict(signatures)}))


_AROUND: Final = ("signatures", "unsigned")


def key_object(key: StoredKey, *, display_name: str | None = None) -> bytes:
    """Return a key object as JSON, with the name of its device where there is one."""
    unsigned = b""
    if display_name is not None:
        unsigned = b',"unsigned":{"device_display_name":%b}' % encode(display_name)
    comma = b"," if len(key.keys) > len(b"{}") else b""
    return b'%b%b"signatures":%b%b}' % (key.keys[:-1], comma, key.signatures, unsigned)


def signatures_in(key: StoredKey) -> Signatures:
    """Return the signatures of a key object."""
    return _decode_signatures(key.signatures)


def with_signatures(key: StoredKey, signer: UserID, more: Mapping[str, str]) -> StoredKey:
    """Return a key object with more signatures of a user's keys."""
    signatures = signatures_in(key)
    signatures[signer] = {**signatures.get(signer, {}), **more}
    return key._replace(signatures=encode(signatures))


def without_signature(key: StoredKey, signer: UserID, key_id: str) -> StoredKey:
    """Return a key object without the signature of one key."""
    signatures = signatures_in(key)
    signatures.get(signer, {}).pop(key_id, None)
    return key._replace(signatures=encode(signatures))


def source_of(key: StoredKey) -> JsonObject:
    """Return a key object, decoded."""
    return {**decode(key.keys), "signatures": signatures_in(key)}


def device_keys_of(key: StoredKey, user_id: UserID, device_id: DeviceID) -> DeviceKeys:
    """Read stored device keys."""
    return parse_device_keys(source_of(key), user_id, device_id)


def cross_signing_key_of(row: CrossSigningRow) -> CrossSigningKey:
    """Read a stored cross-signing key."""
    return parse_cross_signing_key(source_of(row.key), row.user_id, row.usage)
