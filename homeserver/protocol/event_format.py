"""The format of events in each room version: from what another server sent to an `Event`.

Spec: server-server-api/#pdus, the "Event format" section of each room version,
client-server-api/#size-limits
"""

from typing import Final

from homeserver.protocol.canonical_json import MAX_INTEGER
from homeserver.protocol.errors import EventTooLarge, InvalidEvent, InvalidIdentifier, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.hashing import encode_event, event_id_of
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    has_domain,
    parse_event_id,
    parse_event_id_with_domain,
    parse_room_id,
    parse_user_id,
    room_id_of_create_event,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules

# client-server-api/#size-limits: the whole PDU with its signatures, as Canonical JSON.
MAX_EVENT_BYTES: Final = 65_536
# client-server-api/#size-limits: `type` and `state_key`, and identifiers by their grammar.
MAX_KEY_BYTES: Final = 255
# The event format of every room version: "less than or equal to 20 events", "… to 10 events".
MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10
# `depth` before version 6 and `origin_server_ts` in every version are 64-bit integers.
_MAX_INT64: Final = 2**63 - 1

_SIZED_KEYS: Final = ("sender", "room_id", "type", "state_key", "event_id")


def event_from_pdu(pdu: JsonValue, rules: RoomVersionRules) -> Event:
    """Check the format of a PDU and make an `Event` of it, which keeps the PDU itself.

    This is step 1 of the checks on receipt: signatures, the content hash and authorization
    are for later. `unsigned` stays, unchecked but for being an object. Raises InvalidEvent:
    the format is wrong, EventTooLarge among it.
    Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
    """
    if not isinstance(pdu, dict):
        raise InvalidEvent("an event must be an object")
    try:
        client_event_size_check(pdu, rules)
        return _read_event(pdu, rules)
    except (InvalidIdentifier, InvalidJson) as error:
        raise InvalidEvent(str(error)) from None


def client_event_size_check(pdu: JsonObject, rules: RoomVersionRules) -> None:
    """Check the size of a PDU and of its keys, in bytes, whatever its room version.

    Raises EventTooLarge; InvalidJson: the PDU has no canonical encoding.
    Spec: client-server-api/#size-limits
    """
    if len(encode_event(pdu, rules)) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")
    check_key_sizes(pdu)


def check_key_sizes(pdu: JsonObject) -> None:
    """Check the size of every key that has a limit of its own. Raises EventTooLarge."""
    for key in _SIZED_KEYS:
        text = pdu.get(key)
        if isinstance(text, str) and _size_of(text) > MAX_KEY_BYTES:
            raise EventTooLarge(f"{key} is longer than {MAX_KEY_BYTES} bytes")


def check_type_and_state_key(pdu: JsonObject) -> None:
    """Check what may not stand in `type` and `state_key`. Raises InvalidEvent.

    No rule of the specification forbids NUL there, but no identifier has it and no database
    text can hold it, so an event with it could be neither stored nor looked up.
    """
    for key in ("type", "state_key"):
        if key in pdu and "\0" in _read_text(pdu, key):
            raise InvalidEvent(f"{key} contains NUL")


def max_depth(rules: RoomVersionRules) -> int:
    """Return the largest `depth`, which events at the limit repeat. Spec: rooms/v6/#event-format"""
    return MAX_INTEGER if rules.strict_canonical_json else _MAX_INT64


def redacts_of(pdu: JsonObject, rules: RoomVersionRules) -> EventID | None:
    """Return the target of a redaction, from where the room version keeps it.

    None for other events, and where there is no event ID.
    Spec: rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
    """
    if pdu["type"] != "m.room.redaction":
        return None
    target = (pdu["content"] if rules.redacts_in_content else pdu).get("redacts")
    try:
        return parse_event_id(target) if isinstance(target, str) else None
    except InvalidIdentifier:
        return None


def _size_of(text: str) -> int:
    # A lone surrogate is for the canonical encoding to refuse.
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _read_event(pdu: JsonObject, rules: RoomVersionRules) -> Event:
    check_type_and_state_key(pdu)
    _check_hashes_and_signatures(pdu)
    _read_object(pdu, "unsigned", default={})
    if not rules.redacts_in_content and "redacts" in pdu:
        _read_text(pdu, "redacts")
    event_type = _read_text(pdu, "type")
    content = _read_object(pdu, "content")
    event_id = _read_event_id(pdu, rules)
    return Event(
        event_id=event_id,
        room_id=_read_room_id(pdu, event_id, rules),
        room_version=rules.version,
        type=event_type,
        sender=parse_user_id(_read_text(pdu, "sender")),
        content=content,
        origin_server_ts=_read_integer(pdu, "origin_server_ts", -_MAX_INT64 - 1, _MAX_INT64),
        # "The maximum depth of the prev_events, plus one" is never negative.
        depth=_read_integer(pdu, "depth", 0, max_depth(rules)),
        prev_events=_read_references(pdu, "prev_events", MAX_PREV_EVENTS, rules),
        auth_events=_read_references(pdu, "auth_events", MAX_AUTH_EVENTS, rules),
        pdu=pdu,
        state_key=pdu.get("state_key"),
        redacts=redacts_of(pdu, rules),
    )


def _read_event_id(pdu: JsonObject, rules: RoomVersionRules) -> EventID:
    event_id = event_id_of(pdu, rules)
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        parse_event_id_with_domain(event_id)
    return event_id


def _read_room_id(pdu: JsonObject, event_id: EventID, rules: RoomVersionRules) -> RoomID:
    if rules.room_id_is_create_hash and pdu["type"] == "m.room.create":
        if "room_id" in pdu:
            raise InvalidEvent("room_id must be omitted from the create event")
        return room_id_of_create_event(event_id)
    room_id = parse_room_id(_read_text(pdu, "room_id"))
    if has_domain(room_id) is rules.room_id_is_create_hash:
        raise InvalidEvent("room_id does not have the form of the room version")
    return room_id


def _read_references(
    pdu: JsonObject, key: str, limit: int, rules: RoomVersionRules
) -> tuple[EventID, ...]:
    references = pdu.get(key)
    if not isinstance(references, list):
        raise InvalidEvent(f"{key} must be an array")
    if len(references) > limit:
        raise InvalidEvent(f"{key} has more than {limit} events")
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        references = [_read_pair(reference, key) for reference in references]
    if not all(isinstance(reference, str) for reference in references):
        raise InvalidEvent(f"{key} must hold event IDs")
    return tuple(parse_event_id(reference) for reference in references)


def _read_pair(pair: JsonValue, key: str) -> JsonValue:
    """Return the event ID of a pair of event ID and hashes, as in room versions 1 and 2."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], dict):
        raise InvalidEvent(f"{key} must hold pairs of event ID and hashes")
    return pair[0]


def _check_hashes_and_signatures(pdu: JsonObject) -> None:
    if not isinstance(_read_object(pdu, "hashes").get("sha256"), str):
        raise InvalidEvent("hashes must have a sha256 string")
    for of_server in _read_object(pdu, "signatures").values():
        if not isinstance(of_server, dict):
            raise InvalidEvent("signatures must be an object of objects")
        if not all(isinstance(signature, str) for signature in of_server.values()):
            raise InvalidEvent("a signature must be a string")


def _read_text(pdu: JsonObject, key: str) -> str:
    text = pdu.get(key)
    if not isinstance(text, str):
        raise InvalidEvent(f"{key} must be a string")
    return text


def _read_object(pdu: JsonObject, key: str, default: JsonObject | None = None) -> JsonObject:
    value = pdu.get(key, default)
    if not isinstance(value, dict):
        raise InvalidEvent(f"{key} must be an object")
    return value


def _read_integer(pdu: JsonObject, key: str, lowest: int, highest: int) -> int:
    number = pdu.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidEvent(f"{key} must be an integer")
    if not lowest <= number <= highest:
        raise InvalidEvent(f"{key} is out of range")
    return number
