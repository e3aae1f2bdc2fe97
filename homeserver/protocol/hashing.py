"""Hashes of events, and the event IDs made of them. Spec: server-server-api/#signing-events"""

from hashlib import sha256
from typing import Final

from homeserver.protocol.canonical_json import encode_canonical, encode_canonical_lenient
from homeserver.protocol.errors import InvalidBase64, InvalidEvent
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules
from homeserver.protocol.unpadded_base64 import (
    decode_base64,
    encode_base64,
    encode_urlsafe_base64,
)

# Nested arrays and objects in an event: so far below `canonical_json.MAX_DEPTH` that an event
# still fits when it is wrapped in a transaction or a response.
MAX_EVENT_DEPTH: Final = 584
_NOT_IN_CONTENT_HASH: Final = frozenset(("unsigned", "signatures", "hashes"))


def encode_event(value: JsonValue, rules: RoomVersionRules) -> bytes:
    """Encode an event or a part of one as strictly as its room version demands.

    Raises InvalidJson. Spec: rooms/v6/#canonical-json
    """
    encode = encode_canonical if rules.strict_canonical_json else encode_canonical_lenient
    return encode(value, max_depth=MAX_EVENT_DEPTH)


def bytes_to_content_hash(pdu: JsonObject, rules: RoomVersionRules) -> bytes:
    """Return what the content hash covers, encoded. Raises InvalidJson."""
    covered = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return encode_event(covered, rules)


def content_hash(pdu: JsonObject, rules: RoomVersionRules) -> str:
    """Return the SHA-256 of the unredacted event in unpadded base64.

    Raises InvalidJson. Spec: server-server-api/#calculating-the-content-hash-for-an-event
    """
    return encode_base64(sha256(bytes_to_content_hash(pdu, rules)).digest())


def add_content_hash(pdu: JsonObject, rules: RoomVersionRules) -> JsonObject:
    """Return a copy of the PDU with its content hash in place of any other hashes."""
    return {**pdu, "hashes": {"sha256": content_hash(pdu, rules)}}


def has_valid_content_hash(pdu: JsonObject, rules: RoomVersionRules) -> bool:
    """Whether the event is complete. If not, only its redacted form may be used.

    Raises InvalidJson. Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
    """
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    try:
        claimed_digest = decode_base64(claimed)
    except InvalidBase64:
        return False
    return claimed_digest == sha256(bytes_to_content_hash(pdu, rules)).digest()


def bytes_to_sign(pdu: JsonObject, rules: RoomVersionRules) -> bytes:
    """Return the encoded redacted event, which signatures and the reference hash both cover.

    Raises InvalidJson.
    """
    redacted = redact(pdu, rules)
    redacted.pop("signatures", None)
    return encode_event(redacted, rules)


def reference_hash(pdu: JsonObject, rules: RoomVersionRules) -> bytes:
    """Return the SHA-256 of the redacted event, 32 bytes.

    Raises InvalidJson. Spec: server-server-api/#calculating-the-reference-hash-for-an-event
    """
    return sha256(bytes_to_sign(pdu, rules)).digest()


def event_id_of(pdu: JsonObject, rules: RoomVersionRules) -> EventID:
    """Return the event ID: the one inside of the PDU in versions 1 and 2, else the computed.

    From version 3 on an `event_id` inside of the PDU is not believed; it counts like any other
    key, so the hashes cover it. Raises InvalidJson; InvalidEvent: `event_id` is no string.
    """
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        event_id = pdu.get("event_id")
        if not isinstance(event_id, str):
            raise InvalidEvent("event_id must be a string")
        return EventID(event_id)
    return event_id_from_hash(reference_hash(pdu, rules), rules)


def event_id_from_hash(digest: bytes, rules: RoomVersionRules) -> EventID:
    """Write a reference hash as an event ID of room version 3 and later."""
    if rules.event_id_format is EventIDFormat.REFERENCE_HASH_BASE64:
        return EventID("$" + encode_base64(digest))
    return EventID("$" + encode_urlsafe_base64(digest))
