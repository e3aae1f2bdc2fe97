"""EDUs: what servers tell each other that is no event of a room.

A parser takes the server that sent the EDU and keeps only what it may say: a server speaks for
its own users. Parts against the schema are dropped, so that one of them does not spoil the rest.
Spec: server-server-api/#edus
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

from homeserver.protocol.errors import InvalidIdentifier, InvalidJson
from homeserver.protocol.identifiers import (
    DeviceID,
    EventID,
    RoomID,
    ServerName,
    UserID,
    parse_device_id,
    parse_event_id,
    parse_room_id,
    parse_user_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject, JsonValue

# server-server-api/#transactions: "at most 50 PDUs and 100 EDUs"
MAX_PDUS: Final = 50
MAX_EDUS: Final = 100
# "Arbitrary utf8 string, of maximum length 32 codepoints": what we send.
MAX_MESSAGE_ID_LENGTH: Final = 32
# What we take: others send the transaction IDs of their clients, and a lost room key costs more.
_MAX_FOREIGN_MESSAGE_ID_LENGTH: Final = 255
_BigInt = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class InvalidEdu(InvalidJson):
    """An EDU breaks its schema, or speaks for users of another server."""


class Typing(msgspec.Struct, frozen=True):
    """A user has started or stopped typing in a room."""

    room_id: RoomID
    user_id: UserID
    typing: bool


class PresenceUpdate(msgspec.Struct, frozen=True, omit_defaults=True):
    """The presence of one user. `last_active_ago` is in ms; senders leave it out at times."""

    user_id: UserID
    presence: Literal["offline", "unavailable", "online"]
    last_active_ago: _Milliseconds | None = None
    status_msg: str | None = None
    currently_active: bool = False


class Presence(msgspec.Struct, frozen=True):
    """The presence of some users."""

    push: tuple[PresenceUpdate, ...]


class Receipt(msgspec.Struct, frozen=True):
    """How far a user has read in a room, or in a thread of it. `ts` is in ms.

    `thread_id` is the thread root, or `main`, or None for all of the room.
    """

    room_id: RoomID
    user_id: UserID
    event_id: EventID
    ts: int
    thread_id: str | None = None


class Receipts(msgspec.Struct, frozen=True):
    """Read receipts, the only kind that travels between servers.

    One EDU has room for one receipt of a user in a room: see `group_receipts`.
    """

    receipts: tuple[Receipt, ...]


class DeviceListUpdate(msgspec.Struct, frozen=True, omit_defaults=True):
    """One device has changed. `keys` are as the device signed them, and not yet checked.

    `prev_id` are the updates before this one; whoever misses one must ask for the whole list.
    """

    user_id: UserID
    device_id: DeviceID
    stream_id: _BigInt
    prev_id: tuple[_BigInt, ...] = ()
    device_display_name: str | None = None
    deleted: bool = False
    keys: JsonObject | None = None


class DirectToDevice(msgspec.Struct, frozen=True):
    """Messages to devices, by user ID and device ID, where `*` means all devices.

    The same `message_id` of the same server is the same message.
    """

    sender: UserID
    type: str
    message_id: str
    messages: dict[UserID, dict[DeviceID, JsonObject]]


class SigningKeyUpdate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user has new cross-signing keys, not yet checked."""

    user_id: UserID
    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None


Edu: TypeAlias = Typing | Presence | Receipts | DeviceListUpdate | DirectToDevice | SigningKeyUpdate


def parse_edu(envelope: JsonValue, origin: ServerName) -> Edu | None:
    """Read an EDU of a transaction. None: its type is not known, and it is to be ignored.

    Raises InvalidEdu.
    """
    if not isinstance(envelope, dict):
        raise InvalidEdu("an EDU must be an object")
    edu_type, content = envelope.get("edu_type"), envelope.get("content")
    if not isinstance(edu_type, str) or not isinstance(content, dict):
        raise InvalidEdu("an EDU must have an edu_type and a content")
    parse = _PARSERS.get(edu_type)
    if parse is None:
        return None
    try:
        return parse(content, origin)
    except (msgspec.ValidationError, InvalidIdentifier) as fault:
        raise InvalidEdu(f"invalid {edu_type}: {fault}") from None


def edu_to_json(edu: Edu) -> JsonObject:
    """Return an EDU as it stands in a transaction."""
    if isinstance(edu, Receipts):
        content = _receipts_to_json(edu.receipts)
    else:
        # By way of JSON, which has lists where structs have tuples.
        content = msgspec.json.decode(msgspec.json.encode(edu))
    return {"edu_type": edu_type_of(edu), "content": content}


def edu_type_of(edu: Edu) -> str:
    """Return the type of an EDU, as the specification calls it."""
    return _EDU_TYPES[type(edu)]


def group_receipts(receipts: Iterable[Receipt]) -> list[Receipts]:
    """Spread receipts over as few EDUs as can hold them, in their order."""
    groups: list[dict[tuple[RoomID, UserID], Receipt]] = []
    used: dict[tuple[RoomID, UserID], int] = {}
    for receipt in receipts:
        key = (receipt.room_id, receipt.user_id)
        index = used[key] = used.get(key, -1) + 1
        if index == len(groups):
            groups.append({})
        groups[index][key] = receipt
    return [Receipts(tuple(group.values())) for group in groups]


def _own_user(text: str, origin: ServerName) -> UserID:
    user_id = parse_user_id(text)
    if server_name_of(user_id) != origin:
        raise InvalidEdu("the user is of another server than the EDU")
    return user_id


def _parse_typing(content: JsonObject, origin: ServerName) -> Typing:
    typing = msgspec.convert(content, Typing)
    _own_user(typing.user_id, origin)
    parse_room_id(typing.room_id)
    return typing


def _parse_presence(content: JsonObject, origin: ServerName) -> Presence:
    updates = content.get("push")
    if not isinstance(updates, list):
        raise InvalidEdu("m.presence must have a list")
    parsed = (_acceptable(_parse_presence_update, update, origin) for update in updates)
    return Presence(tuple(update for update in parsed if update is not None))


def _parse_presence_update(update: JsonValue, origin: ServerName) -> PresenceUpdate:
    parsed = msgspec.convert(update, PresenceUpdate)
    _own_user(parsed.user_id, origin)
    return parsed


class _ReceiptMetadata(msgspec.Struct, frozen=True):
    ts: _BigInt
    thread_id: str | None = None


class _ReceiptBody(msgspec.Struct, frozen=True):
    event_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1)]
    data: _ReceiptMetadata


def _parse_receipts(content: JsonObject, origin: ServerName) -> Receipts:
    parsed = (
        _acceptable(_parse_receipt, (room_id, user_id, receipt), origin)
        for room_id, by_type in content.items()
        for user_id, receipt in _members(by_type, "m.read")
    )
    return Receipts(tuple(receipt for receipt in parsed if receipt is not None))


def _parse_receipt(part: tuple[str, str, JsonValue], origin: ServerName) -> Receipt:
    room_id, user_id, receipt = part
    body = msgspec.convert(receipt, _ReceiptBody)
    thread_id = body.data.thread_id
    if thread_id not in (None, "main"):
        parse_event_id(thread_id)
    return Receipt(
        room_id=parse_room_id(room_id),
        user_id=_own_user(user_id, origin),
        event_id=parse_event_id(body.event_ids[0]),
        ts=body.data.ts,
        thread_id=thread_id,
    )


def _receipts_to_json(receipts: Iterable[Receipt]) -> JsonObject:
    content: JsonObject = {}
    for receipt in receipts:
        metadata: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id is not None:
            metadata["thread_id"] = receipt.thread_id
        by_user = content.setdefault(receipt.room_id, {"m.read": {}})["m.read"]
        by_user[receipt.user_id] = {"event_ids": [receipt.event_id], "data": metadata}
    return content


def _parse_device_list_update(content: JsonObject, origin: ServerName) -> DeviceListUpdate:
    update = msgspec.convert(content, DeviceListUpdate)
    _own_user(update.user_id, origin)
    parse_device_id(update.device_id)
    return update


class _DirectToDeviceBody(msgspec.Struct, frozen=True):
    sender: str
    type: str
    message_id: str
    messages: dict[str, JsonValue]


def _parse_direct_to_device(content: JsonObject, origin: ServerName) -> DirectToDevice:
    body = msgspec.convert(content, _DirectToDeviceBody)
    if "\0" in body.type or "\0" in body.message_id:
        raise InvalidEdu("NUL in the type or the message ID")
    if len(body.message_id) > _MAX_FOREIGN_MESSAGE_ID_LENGTH:
        raise InvalidEdu("the message ID is too long")
    messages: dict[UserID, dict[DeviceID, JsonObject]] = {}
    for user_id in body.messages:
        by_device = {
            DeviceID(device_id): message
            for device_id, message in _members(body.messages, user_id)
            if isinstance(message, dict)
        }
        if by_device:
            messages[UserID(user_id)] = by_device
    sender = _own_user(body.sender, origin)
    return DirectToDevice(sender, body.type, body.message_id, messages)


def _parse_signing_key_update(content: JsonObject, origin: ServerName) -> SigningKeyUpdate:
    update = msgspec.convert(content, SigningKeyUpdate)
    _own_user(update.user_id, origin)
    return update


_Part = TypeVar("_Part")
_Parsed = TypeVar("_Parsed")


def _acceptable(
    parse: Callable[[_Part, ServerName], _Parsed], part: _Part, origin: ServerName
) -> _Parsed | None:
    """Parse one part of an EDU. None if it is to be dropped."""
    try:
        return parse(part, origin)
    except (InvalidEdu, InvalidIdentifier, msgspec.ValidationError):
        return None


def _members(value: JsonValue, name: str) -> Iterator[tuple[str, JsonValue]]:
    """Iterate over an object that is a member of another, if both are what they should be."""
    inner = value.get(name) if isinstance(value, dict) else None
    if isinstance(inner, dict):
        yield from inner.items()


_EDU_TYPES: Final[dict[type[Edu], str]] = {
    Typing: "m.typing",
    Presence: "m.presence",
    Receipts: "m.receipt",
    DeviceListUpdate: "m.device_list_update",
    DirectToDevice: "m.direct_to_device",
    SigningKeyUpdate: "m.signing_key_update",
}
_PARSERS: Final[dict[str, Callable[[JsonObject, ServerName], Edu]]] = {
    "m.typing": _parse_typing,
    "m.presence": _parse_presence,
    "m.receipt": _parse_receipts,
    "m.device_list_update": _parse_device_list_update,
    "m.direct_to_device": _parse_direct_to_device,
    "m.signing_key_update": _parse_signing_key_update,
}
