"""What the create event says about its room.

Spec: client-server-api/#mroomcreate
"""

import msgspec

from homeserver.protocol.errors import InvalidIdentifier, UnsupportedRoomVersion
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    UserID,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules, rules_of


class Predecessor(msgspec.Struct, frozen=True):
    """The room that this one replaces, and its last known event when the creator named it."""

    room_id: RoomID
    event_id: EventID | None = None


class RoomCreation(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one create event.

    `creator` is the one user who may join right after the create event: `content.creator`
    in versions that have it, the sender in later ones; None when the former is no user ID.
    `creators` are all users the version calls creators: `creator`, and from version 12 on
    the additional ones. Whether they stand above the power levels is a fact of the version.
    """

    event_id: EventID
    room_id: RoomID
    room_version: str
    sender: UserID
    creator: UserID | None
    creators: frozenset[UserID]
    is_federatable: bool
    type: str | None
    predecessor: Predecessor | None


def rules_of_create(content: JsonObject) -> RoomVersionRules:
    """Look up the room version that the content of a create event states.

    A missing `room_version` means "1". Raises UnsupportedRoomVersion, also when the value
    is no string.
    """
    stated = content.get("room_version", "1")
    if not isinstance(stated, str):
        raise UnsupportedRoomVersion(repr(stated))
    return rules_of(stated)


def room_creation(create_event: Event, rules: RoomVersionRules) -> RoomCreation:
    """Read a create event. Members of the wrong type count as absent; nothing is raised."""
    content = create_event.content
    creator = _creator(create_event, rules)
    creators = frozenset() if creator is None else frozenset((creator,))
    if rules.privileged_creators:
        creators |= _additional_creators(content)
    room_type = content.get("type")
    return RoomCreation(
        event_id=create_event.event_id,
        room_id=create_event.room_id,
        room_version=rules.version,
        sender=create_event.sender,
        creator=creator,
        creators=creators,
        is_federatable=content.get("m.federate") is not False,
        type=room_type if isinstance(room_type, str) else None,
        predecessor=_predecessor(content),
    )


def _creator(create_event: Event, rules: RoomVersionRules) -> UserID | None:
    if rules.implicit_creator:
        return create_event.sender
    return _user_id(create_event.content.get("creator"))


def _additional_creators(content: JsonObject) -> frozenset[UserID]:
    listed = content.get("additional_creators")
    if not isinstance(listed, list):
        return frozenset()
    parsed = map(_user_id, listed)
    return frozenset(user_id for user_id in parsed if user_id is not None)


def _user_id(value: JsonValue) -> UserID | None:
    try:
        return parse_user_id(value) if isinstance(value, str) else None
    except InvalidIdentifier:
        return None


def _predecessor(content: JsonObject) -> Predecessor | None:
    stated = content.get("predecessor")
    if not isinstance(stated, dict) or not isinstance(stated.get("room_id"), str):
        return None
    try:
        room_id = parse_room_id(stated["room_id"])
    except InvalidIdentifier:
        return None
    return Predecessor(room_id=room_id, event_id=_event_id(stated.get("event_id")))


def _event_id(value: JsonValue) -> EventID | None:
    try:
        return parse_event_id(value) if isinstance(value, str) else None
    except InvalidIdentifier:
        return None
