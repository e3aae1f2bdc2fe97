"""The rules about an event's own `auth_events`, before any state is looked at."""

from collections.abc import Container, Sequence

from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.room_versions import RoomVersionRules


def check_auth_events(
    event: Event,
    auth_events: Sequence[Event],
    rules: RoomVersionRules,
    rejected: Container[EventID],
) -> None:
    """Judge an event by which auth events it cites. Raises AuthRefusal."""
    # If there are duplicate entries for a given type and state_key pair, reject.
    keys = [(cited.type, cited.state_key) for cited in auth_events]
    cited_ids = set(event.auth_events)
    if len(set(keys)) != len(keys) or len(cited_ids) != len(event.auth_events):
        raise AuthRefusal(AuthRule.AUTH_EVENTS_DUPLICATE, "An auth event is cited twice")
    if cited_ids != {cited.event_id for cited in auth_events}:
        raise AuthRefusal(AuthRule.AUTH_EVENTS_UNKNOWN, "An auth event is not known")
    # If there are entries whose type and state_key don't match those specified by the auth
    # events selection algorithm, reject.
    allowed = select_auth_events(event.type, event.sender, event.state_key, event.content, rules)
    if not set(keys).issubset(allowed):
        raise AuthRefusal(AuthRule.AUTH_EVENTS_EXTRANEOUS, "An auth event has no say here")
    # If there are entries which were themselves rejected under the checks performed on
    # receipt of a PDU, reject.
    if any(cited.event_id in rejected for cited in auth_events):
        raise AuthRefusal(AuthRule.AUTH_EVENTS_REJECTED, "An auth event was rejected")
    # If there is no m.room.create event among the entries, reject. (Before version 12.)
    if not rules.room_id_is_create_hash and ("m.room.create", "") not in keys:
        raise AuthRefusal(AuthRule.AUTH_EVENTS_NO_CREATE, "The create event is not cited")
    # If any event in auth_events has a room_id which does not match that of the event being
    # authorised, reject.
    if any(cited.room_id != event.room_id for cited in auth_events):
        raise AuthRefusal(AuthRule.AUTH_EVENTS_OTHER_ROOM, "An auth event is of another room")


def check_room_of_create(
    event: Event, create_event: Event | None, rejected: Container[EventID]
) -> None:
    """Judge whether the room ID names an accepted create event. Version 12 and later.

    `create_event` is the known event whose ID is the room ID with the sigil `$`, if any.
    Raises AuthRefusal.
    """
    # If the event's room_id is not an event ID for an accepted (not rejected) m.room.create
    # event, with the sigil ! instead of $, reject.
    is_accepted = (
        create_event is not None
        and create_event.type == "m.room.create"
        and create_event.event_id[1:] == event.room_id[1:]
        and create_event.event_id not in rejected
    )
    if not is_accepted:
        raise AuthRefusal(AuthRule.ROOM_CREATE, "The room ID names no accepted create event")
