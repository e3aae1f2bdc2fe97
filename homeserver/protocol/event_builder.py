"""New events of this server: hashed, signed and within all limits.

Spec: server-server-api/#adding-hashes-and-signatures-to-outgoing-events
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from homeserver.protocol.canonical_json import MAX_INTEGER
from homeserver.protocol.errors import EventTooLarge, InvalidEvent, InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.event_format import (
    MAX_AUTH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_PREV_EVENTS,
    check_key_sizes,
    check_type_and_state_key,
    max_depth,
    redacts_of,
)
from homeserver.protocol.hashing import (
    bytes_to_content_hash,
    bytes_to_sign,
    encode_event,
    event_id_from_hash,
)
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    ServerName,
    UserID,
    parse_event_id_with_domain,
    room_id_of_create_event,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.unpadded_base64 import encode_base64


class EventDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to send, before it has a place in the room."""

    type: str
    sender: UserID
    content: JsonObject
    # None for the create event of a room whose ID is that event's hash.
    room_id: RoomID | None
    state_key: str | None = None
    redacts: EventID | None = None


def build_event(
    draft: EventDraft,
    *,
    rules: RoomVersionRules,
    prev_events: Sequence[EventID],
    auth_events: Sequence[EventID],
    depth: int,
    origin_server_ts: int,
    server_name: ServerName,
    signing_key: SigningKey,
    unsigned: JsonObject | None = None,
    opaque_id: str | None = None,
    reference_hashes: Mapping[EventID, str] | None = None,
) -> Event:
    """Make a draft into a signed event.

    `depth` is one more than the largest of the `prev_events`; over the limit it is lowered to
    it. Room versions 1 and 2 need a locally unique `opaque_id`, which becomes the event ID, and
    the `reference_hashes` of all prev and auth events in unpadded base64; others ignore both.
    `draft.content` becomes a part of the event, so nobody may change it afterwards.

    Raises InvalidEvent, EventTooLarge among it; InvalidJson: `content` or `unsigned` is not
    JSON as the room version wants it.
    """
    if len(prev_events) > MAX_PREV_EVENTS or len(auth_events) > MAX_AUTH_EVENTS:
        raise InvalidEvent("too many prev_events or auth_events")
    if abs(origin_server_ts) > MAX_INTEGER:
        raise InvalidEvent("origin_server_ts is out of range")
    pdu = _pdu_of_draft(draft, rules)
    pdu["depth"] = min(depth, max_depth(rules))
    pdu["origin_server_ts"] = origin_server_ts
    pdu["prev_events"] = _references(prev_events, rules, reference_hashes)
    pdu["auth_events"] = _references(auth_events, rules, reference_hashes)
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        pdu["event_id"] = _new_event_id(opaque_id, server_name)
    check_type_and_state_key(pdu)
    check_key_sizes(pdu)
    event_id = _hash_and_sign(pdu, rules, server_name, signing_key, unsigned)
    return Event(
        event_id=event_id,
        room_id=draft.room_id or room_id_of_create_event(event_id),
        room_version=rules.version,
        type=draft.type,
        sender=draft.sender,
        content=pdu["content"],
        origin_server_ts=origin_server_ts,
        depth=pdu["depth"],
        prev_events=tuple(prev_events),
        auth_events=tuple(auth_events),
        pdu=pdu,
        state_key=draft.state_key,
        redacts=redacts_of(pdu, rules),
    )


def _pdu_of_draft(draft: EventDraft, rules: RoomVersionRules) -> JsonObject:
    pdu: JsonObject = {"type": draft.type, "sender": draft.sender, "content": draft.content}
    has_no_room_id = rules.room_id_is_create_hash and draft.type == "m.room.create"
    if (draft.room_id is None) is not has_no_room_id:
        raise InvalidEvent("room_id stands in all events but a create event that gives it")
    if draft.room_id is not None:
        pdu["room_id"] = draft.room_id
    if draft.state_key is not None:
        pdu["state_key"] = draft.state_key
    if draft.redacts is not None and rules.redacts_in_content:
        pdu["content"] = {**draft.content, "redacts": draft.redacts}
    elif draft.redacts is not None:
        pdu["redacts"] = draft.redacts
    return pdu


def _references(
    event_ids: Sequence[EventID],
    rules: RoomVersionRules,
    reference_hashes: Mapping[EventID, str] | None,
) -> list[JsonValue]:
    if rules.event_id_format is not EventIDFormat.SERVER_CHOSEN:
        return list(event_ids)
    hashes = reference_hashes or {}
    unknown = [event_id for event_id in event_ids if event_id not in hashes]
    if unknown:
        raise InvalidEvent(f"the reference hash of {unknown[0]} is not given")
    return [[event_id, {"sha256": hashes[event_id]}] for event_id in event_ids]


def _new_event_id(opaque_id: str | None, server_name: ServerName) -> EventID:
    if not opaque_id:
        raise InvalidEvent("the room version needs an opaque ID for the event")
    try:
        return parse_event_id_with_domain(f"${opaque_id}:{server_name}")
    except InvalidIdentifier as error:
        raise InvalidEvent(str(error)) from None


def _hash_and_sign(
    pdu: JsonObject,
    rules: RoomVersionRules,
    server_name: ServerName,
    signing_key: SigningKey,
    unsigned: JsonObject | None,
) -> EventID:
    """Add `hashes`, `signatures` and `unsigned` to the PDU and return its event ID."""
    hashed = bytes_to_content_hash(pdu, rules)
    hashes: JsonObject = {"sha256": encode_base64(sha256(hashed).digest())}
    pdu["hashes"] = hashes
    # Redaction keeps `hashes` and drops `unsigned`, so these bytes are final: one encoding
    # serves the signature and the event ID.
    signed = bytes_to_sign(pdu, rules)
    added: JsonObject = {
        "hashes": hashes,
        "signatures": {server_name: {signing_key.key_id: signing_key.sign(signed)}},
    }
    if unsigned is not None:
        added["unsigned"] = unsigned
    # Two objects merge into one by putting a comma where two of their braces were.
    if len(hashed) + len(encode_event(added, rules)) - 1 > MAX_EVENT_BYTES:
        raise EventTooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")
    pdu.update(added)
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        return EventID(pdu["event_id"])
    return event_id_from_hash(sha256(signed).digest(), rules)
