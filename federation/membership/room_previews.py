"""The state events by which other servers describe a room to those outside of it.

Spec: server-server-api/#inviting-to-a-room
"""

from collections.abc import Sequence
from typing import Final

from homeserver.ports import EventSignatures
from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.event import Event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.hashing import has_valid_content_hash
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.stripped_state import stripped

# The specification names seven; more than this is no description.
MAX_EVENTS: Final = 100


class RoomPreviews:
    """Reads descriptions of rooms of which nothing else is known."""

    def __init__(self, signatures: EventSignatures) -> None:
        self._signatures = signatures

    async def strict(
        self, value: JsonValue, room_id: RoomID, rules: RoomVersionRules
    ) -> list[JsonObject]:
        """Return stripped state where all of it must be proven. Raises InvalidEvent.

        "Servers SHOULD apply [it] to all other room versions" than 1 to 11.
        """
        if not isinstance(value, list) or len(value) > MAX_EVENTS:
            raise InvalidEvent("the state of the room must be an array of a few events")
        events = [_event(each, room_id, rules) for each in value]
        if not any(event.type == "m.room.create" for event in events):
            raise InvalidEvent("the state of the room lacks its create event")
        verified = await self._signatures.verify_events(events)
        if len(verified) < len({event.event_id for event in events}):
            raise InvalidEvent("an event of the room's state has a wrong signature")
        return stripped([event.pdu for event in events])

    async def lenient(
        self, value: JsonValue, room_id: RoomID, rules: RoomVersionRules
    ) -> list[JsonObject]:
        """Return stripped state without what is wrong in it.

        Where the room ID proves the create event, every event must be proven; where it does not,
        servers send events in the stripped form, too, of which nothing can be proven.
        """
        given = value[:MAX_EVENTS] if isinstance(value, list) else []
        if not rules.room_id_is_create_hash:
            return stripped([each for each in given if _may_be_of(each, room_id)])
        events: list[Event] = []
        for each in given:
            try:
                events.append(_event(each, room_id, rules))
            except InvalidEvent:
                continue
        verified = await self._signatures.verify_events(events)
        return stripped([event.pdu for event in events if event.event_id in verified])


def _event(value: JsonValue, room_id: RoomID, rules: RoomVersionRules) -> Event:
    event = event_from_pdu(value, rules)
    if event.room_id != room_id or not event.is_state:
        raise InvalidEvent("an event of the room's state is of another room, or no state")
    if not has_valid_content_hash(event.pdu, rules):
        raise InvalidEvent("an event of the room's state has a wrong content hash")
    return event


def _may_be_of(value: JsonValue, room_id: RoomID) -> bool:
    return isinstance(value, dict) and value.get("room_id", room_id) == room_id


def described_by(events: Sequence[Event]) -> list[JsonObject]:
    """Return events of a room here as other servers are told of them."""
    return [event.pdu for event in events]
