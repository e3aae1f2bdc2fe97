"""Shapes and signatures of device keys, one-time keys and cross-signing keys.

Key objects are kept as they came, unknown members included: signatures cover all of them.
Spec: client-server-api/#end-to-end-encryption
"""

import re
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

import msgspec

from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.errors import InvalidBase64, InvalidJson
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.signing import verify_json
from homeserver.protocol.unpadded_base64 import decode_base64

_PUBLIC_KEY_BYTES: Final = 32
# `<algorithm>:<key_id>`: the algorithm as a name, the key ID as whatever clients use.
_KEY_NAME: Final = re.compile(r"([^:\0]{1,255}):([^\0]{1,255})")
_ONE_TIME_ALGORITHMS: Final = frozenset({"curve25519", "signed_curve25519"})
# user ID → key ID → signature
Signatures: TypeAlias = dict[str, dict[str, str]]
OneTimeKey: TypeAlias = str | JsonObject


class InvalidKeys(InvalidJson):
    """Uploaded keys break their schema, or are about another user or device."""


class Usage(StrEnum):
    """The three kinds of cross-signing keys."""

    MASTER = "master"
    SELF_SIGNING = "self_signing"
    USER_SIGNING = "user_signing"


class DeviceKeys(msgspec.Struct, frozen=True):
    """The identity keys of one device. `keys` maps `<algorithm>:<device_id>` to public keys."""

    user_id: UserID
    device_id: DeviceID
    algorithms: tuple[str, ...]
    keys: dict[str, str]
    source: JsonObject

    @property
    def signing_key(self) -> str | None:
        """The Ed25519 key of the device, which signs its other keys."""
        return self.keys.get(f"ed25519:{self.device_id}")


class CrossSigningKey(msgspec.Struct, frozen=True):
    """One cross-signing key; its key ID is `ed25519:` and the public key in base64."""

    user_id: UserID
    usage: Usage
    public_key: str
    source: JsonObject

    @property
    def key_id(self) -> str:
        """The name under which signatures by this key stand."""
        return f"ed25519:{self.public_key}"


class _DeviceKeysBody(msgspec.Struct, frozen=True):
    user_id: str
    device_id: str
    algorithms: tuple[str, ...]
    keys: dict[str, str]
    signatures: Signatures


class _SignedKeyBody(msgspec.Struct, frozen=True):
    key: str
    signatures: Signatures
    fallback: bool = False


class _CrossSigningKeyBody(msgspec.Struct, frozen=True):
    user_id: str
    usage: tuple[str, ...]
    keys: dict[str, str]
    signatures: Signatures = {}


def parse_device_keys(source: JsonValue, user_id: UserID, device_id: DeviceID) -> DeviceKeys:
    """Read the identity keys of a device. Signatures are not verified. Raises InvalidKeys.

    Spec: client-server-api/#device-keys
    """
    body = _convert(source, _DeviceKeysBody)
    if body.user_id != user_id or body.device_id != device_id:
        raise InvalidKeys("the device keys are of another user or device")
    for name in body.keys:
        if not name.endswith(f":{device_id}") or _KEY_NAME.fullmatch(name) is None:
            raise InvalidKeys("a device key must be named <algorithm>:<device_id>")
    for algorithm in ("ed25519", "curve25519"):
        key = body.keys.get(f"{algorithm}:{device_id}")
        if key is not None and not is_public_key(key):
            raise InvalidKeys(f"the {algorithm} key is not 32 bytes in base64")
    return DeviceKeys(user_id, device_id, body.algorithms, body.keys, source)


def verify_self_signature(device_keys: DeviceKeys) -> None:
    """Check that the device signed its keys. Raises BadSignature, also without a key."""
    key_id = f"ed25519:{device_keys.device_id}"
    key = device_keys.signing_key or ""
    verify_json(device_keys.source, device_keys.user_id, key_id, key)


def parse_one_time_keys(source: JsonValue) -> dict[tuple[str, str], OneTimeKey]:
    """Read `one_time_keys`, in the order in which they stand: (algorithm, key ID) → key.

    Raises InvalidKeys. Spec: client-server-api/#one-time-and-fallback-keys
    """
    if not isinstance(source, dict):
        raise InvalidKeys("one-time keys must be an object")
    keys: dict[tuple[str, str], OneTimeKey] = {}
    for name, key in source.items():
        match = _KEY_NAME.fullmatch(name)
        if match is None:
            raise InvalidKeys("a one-time key must be named <algorithm>:<key_id>")
        public_key = key if isinstance(key, str) else _convert(key, _SignedKeyBody).key
        if match[1] in _ONE_TIME_ALGORITHMS and not is_public_key(public_key):
            raise InvalidKeys("a one-time key is not 32 bytes in base64")
        if match[1] == "signed_curve25519" and isinstance(key, str):
            raise InvalidKeys("a key of signed_curve25519 must be signed")
        keys[match[1], match[2]] = key
    return keys


def parse_fallback_keys(source: JsonValue) -> dict[str, tuple[str, OneTimeKey]]:
    """Read `fallback_keys`: algorithm → (key ID, key). Raises InvalidKeys.

    "There can only be at most one key per algorithm uploaded".
    """
    keys: dict[str, tuple[str, OneTimeKey]] = {}
    for (algorithm, key_id), key in parse_one_time_keys(source).items():
        if algorithm in keys:
            raise InvalidKeys("there is more than one fallback key of an algorithm")
        keys[algorithm] = (key_id, key)
    return keys


def parse_cross_signing_key(source: JsonValue, user_id: UserID, usage: Usage) -> CrossSigningKey:
    """Read a cross-signing key. Signatures are not verified. Raises InvalidKeys.

    Spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
    """
    body = _convert(source, _CrossSigningKeyBody)
    if body.user_id != user_id:
        raise InvalidKeys("the cross-signing key is of another user")
    if usage not in body.usage:
        raise InvalidKeys(f"the usage of the key must be {usage}")
    if len(body.keys) != 1:
        raise InvalidKeys("a cross-signing key has exactly one public key")
    ((name, public_key),) = body.keys.items()
    if name != f"ed25519:{public_key}" or not is_public_key(public_key):
        raise InvalidKeys("a cross-signing key must be named ed25519:<its own public key>")
    return CrossSigningKey(user_id, usage, public_key, source)


def verify_cross_signature(signed: JsonObject, signer: CrossSigningKey) -> None:
    """Check that a key object is signed by a cross-signing key. Raises BadSignature."""
    verify_json(signed, signer.user_id, signer.key_id, signer.public_key)


def verify_device_signature(signed: JsonObject, signer: DeviceKeys) -> None:
    """Check that a key object is signed by a device, as master keys may be.

    Raises BadSignature, also when the device has no Ed25519 key.
    """
    key_id = f"ed25519:{signer.device_id}"
    verify_json(signed, signer.user_id, key_id, signer.signing_key or "")


def is_same_key(stored: JsonObject, uploaded: JsonObject) -> bool:
    """Say whether an object with new signatures is the stored key otherwise.

    Spec: client-server-api/#post_matrixclientv3keyssignaturesupload
    """
    return _signed_bytes(stored) == _signed_bytes(uploaded)


def signatures_of(source: JsonObject) -> Signatures:
    """Return the signatures of a key object, those against the schema left out."""
    signatures = source.get("signatures")
    if not isinstance(signatures, dict):
        return {}
    return {
        signer: {name: value for name, value in by_key.items() if isinstance(value, str)}
        for signer, by_key in signatures.items()
        if isinstance(by_key, dict)
    }


def add_signatures(source: JsonObject, signatures: Signatures) -> JsonObject:
    """Return a copy of a key object with more signatures."""
    merged = signatures_of(source)
    for signer, by_key in signatures.items():
        merged[signer] = merged.get(signer, {}) | by_key
    return source | {"signatures": merged}


def visible_to(source: JsonObject, owner: UserID, viewer: UserID | None) -> JsonObject:
    """Return a copy of a key object with the signatures that `viewer` may see.

    Those of the owner and the viewer's own: nobody sees whom others have verified. None stands
    for another server. Spec: client-server-api/#key-and-signature-security
    """
    seen = {
        signer: by_key
        for signer, by_key in signatures_of(source).items()
        if signer in (owner, viewer)
    }
    return source | {"signatures": seen}


def is_public_key(text: str) -> bool:
    """Say whether a text is 32 bytes in base64: a public key of Curve25519 or Ed25519."""
    try:
        return len(decode_base64(text)) == _PUBLIC_KEY_BYTES
    except InvalidBase64:
        return False


_Body = TypeVar("_Body", _DeviceKeysBody, _SignedKeyBody, _CrossSigningKeyBody)


def _convert(source: JsonValue, target: type[_Body]) -> _Body:
    try:
        return msgspec.convert(source, target)
    except msgspec.ValidationError as fault:
        raise InvalidKeys(f"invalid keys: {fault}") from None


def _signed_bytes(source: JsonObject) -> bytes:
    # As bytes, because in Python 1 == True == 1.0.
    return encode_canonical_lenient(
        {name: value for name, value in source.items() if name not in ("signatures", "unsigned")}
    )
