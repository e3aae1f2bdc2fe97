"""The stored parts of an event and the JSON made of them, by joining bytes.

An event is stored as two JSON objects: `core`, which every client sees (`content`,
`origin_server_ts`, `redacts` where the room version keeps it there, `sender`, `state_key`,
`type`), and `rest`, the other members of the PDU. Neither repeats the event ID or the room ID,
which are columns. Members are sorted, so that `type` is always the last one of a core.
Spec: client-server-api/#room-event-format
"""

from typing import Final

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules

_CORE_MEMBERS: Final = frozenset({"content", "origin_server_ts", "sender", "state_key", "type"})
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder().decode
# A core ends with its type. Inside a JSON string every quotation mark is escaped, so these bytes
# cannot be the end of some other value.
_CREATE_END: Final = b'"type":"m.room.create"}'
_REDACTION_END: Final = b'"type":"m.room.redaction"}'


def split_pdu(pdu: JsonObject, rules: RoomVersionRules) -> tuple[bytes, bytes]:
    """Divide a PDU into its core and its rest; `join_pdu` is the exact inverse.

    The PDU must have passed the format checks of its room version.
    """
    core: JsonObject = {}
    rest: JsonObject = {}
    implied = _implied_members(str(pdu["type"]), rules)
    keeps_redacts = pdu["type"] == "m.room.redaction" and not rules.redacts_in_content
    for name, value in pdu.items():
        if name in _CORE_MEMBERS or (name == "redacts" and keeps_redacts):
            core[name] = value
        elif name not in implied:
            rest[name] = value
    return _encode(core), _encode(rest)


def split_event(event: Event, rules: RoomVersionRules) -> tuple[bytes, bytes]:
    """Divide the PDU of an event into its core and its rest."""
    return split_pdu(event.pdu, rules)


def join_pdu(
    core: bytes, rest: bytes, *, room_id: RoomID, event_id: EventID, rules: RoomVersionRules
) -> bytes:
    """Return the PDU as it goes over the wire, as JSON; not in canonical order."""
    implied = _implied_members("m.room.create" if core.endswith(_CREATE_END) else "", rules)
    parts = [core[1:-1]]
    if len(rest) > len(b"{}"):
        parts.append(rest[1:-1])
    if "room_id" in implied:
        parts.append(b'"room_id":' + _encode(room_id))
    if "event_id" in implied:
        parts.append(b'"event_id":' + _encode(event_id))
    return b"{" + b",".join(parts) + b"}"


def decode_pdu(
    core: bytes, rest: bytes, *, room_id: RoomID, event_id: EventID, rules: RoomVersionRules
) -> JsonObject:
    """Return the PDU as an object, equal to the one that was split."""
    pdu: JsonObject = _decode(core)
    pdu.update(_decode(rest))
    implied = _implied_members(pdu["type"], rules)
    if "room_id" in implied:
        pdu["room_id"] = room_id
    if "event_id" in implied:
        pdu["event_id"] = event_id
    return pdu


def client_event(
    core: bytes, *, event_id: EventID, room_id: RoomID | None = None, unsigned: bytes | None = None
) -> bytes:
    """Return the event in the format of the client-server API, as JSON.

    Without `room_id` it is the form of `/sync`. `unsigned` is a JSON object. The content is not
    decoded, except that of a redaction, which shows `redacts` in both of its places.
    """
    if core.endswith(_REDACTION_END):
        core = _with_redacts_in_both_places(core)
    parts = [core[:-1], b',"event_id":', _encode(event_id)]
    if room_id is not None:
        parts += (b',"room_id":', _encode(room_id))
    if unsigned is not None:
        parts += (b',"unsigned":', unsigned)
    parts.append(b"}")
    return b"".join(parts)


def stripped_state_event(core: bytes) -> bytes:
    """Return `content`, `sender`, `state_key` and `type` of a state event, as JSON.

    Spec: client-server-api/#stripped-state
    """
    return _encode(_decode_stripped(core))


def _implied_members(event_type: str, rules: RoomVersionRules) -> tuple[str, ...]:
    """Name the members of a PDU that are not stored, because columns hold their values.

    A create event whose hash is the room ID has no `room_id`; should one come with it, that is a
    plain member. The same goes for `event_id` where the room version computes it.
    """
    names: tuple[str, ...] = ()
    if not (rules.room_id_is_create_hash and event_type == "m.room.create"):
        names += ("room_id",)
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        names += ("event_id",)
    return names


class _StrippedState(msgspec.Struct):
    content: msgspec.Raw
    sender: msgspec.Raw
    state_key: msgspec.Raw
    type: msgspec.Raw


class _Redaction(msgspec.Struct, omit_defaults=True):
    content: dict[str, msgspec.Raw]
    origin_server_ts: msgspec.Raw
    sender: msgspec.Raw
    type: msgspec.Raw
    redacts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    state_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_stripped: Final = msgspec.json.Decoder(_StrippedState).decode
_decode_redaction: Final = msgspec.json.Decoder(_Redaction).decode


def _with_redacts_in_both_places(core: bytes) -> bytes:
    """Copy `redacts` from the top into the content, or the other way round.

    A redacted redaction may have it in neither place.
    Spec: rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
    """
    redaction = _decode_redaction(core)
    if redaction.redacts is not msgspec.UNSET:
        redaction.content["redacts"] = redaction.redacts
    elif "redacts" in redaction.content:
        redaction.redacts = redaction.content["redacts"]
    else:
        return core
    return _encode(redaction)
