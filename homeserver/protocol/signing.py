"""Ed25519 signatures of JSON objects and events.

Spec: appendices/#signing-json, server-server-api/#signing-events
"""

import re
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.errors import (
    BadSignature,
    InvalidBase64,
    InvalidJson,
    InvalidSigningKey,
)
from homeserver.protocol.hashing import bytes_to_sign
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.unpadded_base64 import decode_base64, encode_base64

SEED_BYTES: Final = 32
_PUBLIC_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
# The alphabet of `verify_keys`, which is narrower than that of other key IDs.
# Spec: server-server-api/#get_matrixkeyv2server
_KEY_VERSION: Final = re.compile(r"[a-zA-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key of this server. Made by `signing_key_from_seed` and `read_signing_key`."""

    key_id: KeyID
    # The seed and the public key, one after the other, as libsodium takes them.
    _secret_key: bytes = field(repr=False)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes that the key was made of."""
        return self._secret_key[:SEED_BYTES]

    @property
    def verify_key(self) -> str:
        """The public key in unpadded base64."""
        return encode_base64(self._secret_key[SEED_BYTES:])

    def sign(self, message: bytes) -> str:
        """Return the signature in unpadded base64."""
        return encode_base64(crypto_sign(message, self._secret_key)[:_SIGNATURE_BYTES])


def signing_key_from_seed(version: str, seed: bytes) -> SigningKey:
    """Make the key `ed25519:<version>` of 32 random bytes. Raises InvalidSigningKey."""
    if _KEY_VERSION.fullmatch(version) is None:
        raise InvalidSigningKey("the version of a signing key consists of a-z, A-Z, 0-9 and _")
    if len(seed) != SEED_BYTES:
        raise InvalidSigningKey(f"the seed of a signing key has {SEED_BYTES} bytes")
    _, secret_key = crypto_sign_seed_keypair(seed)
    return SigningKey(KeyID(f"ed25519:{version}"), secret_key)


def read_signing_key(text: str) -> SigningKey:
    """Read a key in the format of the signedjson library: `ed25519 <version> <base64 seed>`.

    Raises InvalidSigningKey: not exactly one key, or not in this format.
    """
    words = text.split()
    if len(words) != 3 or words[0] != "ed25519":
        raise InvalidSigningKey("a signing key reads: ed25519 <version> <base64 seed>")
    try:
        seed = decode_base64(words[2])
    except InvalidBase64:
        raise InvalidSigningKey("the seed of the signing key is not base64") from None
    return signing_key_from_seed(words[1], seed)


def write_signing_key(key: SigningKey) -> str:
    """Write the key as one line that `read_signing_key` and signedjson read. It is secret."""
    algorithm, _, version = key.key_id.partition(":")
    return f"{algorithm} {version} {encode_base64(key.seed)}\n"


def sign_json(obj: JsonObject, server_name: ServerName, key: SigningKey) -> JsonObject:
    """Return a copy of the object with our signature among its signatures.

    The signature covers neither `unsigned` nor the other signatures. Floats and large integers
    are signed as they are, because a transaction may carry events of old room versions.
    Raises InvalidJson: the object or its `signatures` cannot be signed.
    """
    return add_signature(obj, server_name, key.key_id, key.sign(_bytes_of_object(obj)))


def sign_event(
    pdu: JsonObject, rules: RoomVersionRules, server_name: ServerName, key: SigningKey
) -> JsonObject:
    """Return a copy of the PDU with our signature among its signatures; `hashes` stay.

    Raises InvalidJson: the PDU or its `signatures` cannot be signed.
    Spec: server-server-api/#adding-hashes-and-signatures-to-outgoing-events
    """
    return add_signature(pdu, server_name, key.key_id, key.sign(bytes_to_sign(pdu, rules)))


def add_signature(
    obj: JsonObject, server_name: ServerName, key_id: KeyID, signature: str
) -> JsonObject:
    """Return a copy of the object with one more signature, such as a policy server's.

    Raises InvalidJson: `signatures` is not an object of objects.
    """
    signatures = obj.get("signatures", {})
    of_server = signatures.get(server_name, {}) if isinstance(signatures, dict) else None
    if not isinstance(of_server, dict):
        raise InvalidJson("signatures must be an object of objects")
    return {**obj, "signatures": {**signatures, server_name: {**of_server, key_id: signature}}}


def verify_json(obj: JsonObject, server_name: str, key_id: str, verify_key: str) -> None:
    """Check one signature of an object; `verify_key` is base64, in either alphabet.

    Raises BadSignature. Spec: appendices/#checking-for-a-signature
    """
    signature = _find_signature(obj, server_name, key_id)
    try:
        message = _bytes_of_object(obj)
    except InvalidJson:
        raise BadSignature("the object has no canonical encoding") from None
    verify_bytes(message, signature, verify_key)


def verify_event(
    pdu: JsonObject, rules: RoomVersionRules, server_name: str, key_id: str, verify_key: str
) -> None:
    """Check one signature of an event, which may have been redacted; see `verify_json`.

    Raises BadSignature.
    """
    signature = _find_signature(pdu, server_name, key_id)
    try:
        message = bytes_to_sign(pdu, rules)
    except InvalidJson:
        raise BadSignature("the event has no canonical encoding") from None
    verify_bytes(message, signature, verify_key)


def verify_bytes(message: bytes, signature: str, verify_key: str) -> None:
    """Check an Ed25519 signature; it and the public key are base64. Raises BadSignature."""
    try:
        raw_signature, raw_key = decode_base64(signature), decode_base64(verify_key)
    except InvalidBase64:
        raise BadSignature("the signature or the key is not base64") from None
    if len(raw_signature) != _SIGNATURE_BYTES or len(raw_key) != _PUBLIC_KEY_BYTES:
        raise BadSignature("the signature or the key has the wrong length")
    try:
        crypto_sign_open(raw_signature + message, raw_key)
    except BadSignatureError:
        raise BadSignature("the signature does not match") from None


def _bytes_of_object(obj: JsonObject) -> bytes:
    covered = {key: value for key, value in obj.items() if key not in ("signatures", "unsigned")}
    return encode_canonical_lenient(covered)


def _find_signature(obj: JsonObject, server_name: str, key_id: str) -> str:
    if not key_id.startswith("ed25519:"):
        raise BadSignature("the algorithm of the signature is unknown")
    signatures = obj.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signature = of_server.get(key_id) if isinstance(of_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature("there is no such signature")
    return signature
