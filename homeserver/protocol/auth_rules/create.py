"""The rules for `m.room.create`: they need nothing but the event."""

from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.create import rules_of_create
from homeserver.protocol.errors import AuthRefusal, InvalidIdentifier, UnsupportedRoomVersion
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import parse_user_id, server_name_of
from homeserver.protocol.json_types import JsonValue
from homeserver.protocol.room_versions import RoomVersionRules


def check_create(event: Event, rules: RoomVersionRules) -> None:
    """Judge a create event. Raises AuthRefusal."""
    # If it has any prev_events, reject.
    if event.prev_events:
        raise AuthRefusal(AuthRule.CREATE_PREV_EVENTS, "A create event must be the first event")
    _check_room_id(event, rules)
    _check_room_version(event, rules)
    # If content has no creator property, reject. (Before version 11.)
    if not rules.implicit_creator and "creator" not in event.content:
        raise AuthRefusal(AuthRule.CREATE_CREATOR, "The create event names no creator")
    if rules.privileged_creators:
        _check_additional_creators(event)


def _check_room_id(event: Event, rules: RoomVersionRules) -> None:
    # If the event has a room_id, reject. (Version 12.)
    if rules.room_id_is_create_hash:
        if "room_id" in event.pdu:
            raise AuthRefusal(
                AuthRule.CREATE_ROOM_ID_PRESENT, "The create event must not have a room ID"
            )
        return
    # If the domain of the room_id does not match the domain of the sender, reject.
    try:
        is_of_sender = server_name_of(event.room_id) == server_name_of(event.sender)
    except InvalidIdentifier:
        is_of_sender = False
    if not is_of_sender:
        raise AuthRefusal(
            AuthRule.CREATE_ROOM_ID_DOMAIN, "The room ID must be of the creating server"
        )


def _check_room_version(event: Event, rules: RoomVersionRules) -> None:
    # If content.room_version is present and is not a recognised version, reject. A version
    # other than the one the room is judged by is as good as none: the event would have had
    # another ID or other rules there.
    try:
        is_this_version = rules_of_create(event.content).version == rules.version
    except UnsupportedRoomVersion:
        is_this_version = False
    if not is_this_version:
        raise AuthRefusal(
            AuthRule.CREATE_ROOM_VERSION, "The create event states another room version"
        )


def _check_additional_creators(event: Event) -> None:
    # If additional_creators is present in content and is not an array of strings where each
    # string passes the same user ID validation applied to sender, reject.
    listed = event.content.get("additional_creators", [])
    if not isinstance(listed, list) or not all(map(_is_user_id, listed)):
        raise AuthRefusal(
            AuthRule.CREATE_ADDITIONAL_CREATORS, "additional_creators must be a list of user IDs"
        )


def _is_user_id(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(parse_user_id(value))
    except InvalidIdentifier:
        return False
