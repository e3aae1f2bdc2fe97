"""The event: one PDU, well-formed in its room version."""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import msgspec

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject

# (event type, state key)
StateKey: TypeAlias = tuple[str, str]
_Value = TypeVar("_Value")
# The state of a room at some point: one value (event, event ID, row number) per state key.
StateMap: TypeAlias = Mapping[StateKey, _Value]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A PDU whose shape, ID and (for received ones) hash have been checked.

    `pdu` is the wire form, with `hashes` and `signatures`. Nobody changes it or `content`. Where
    the room version computes the event ID, an `event_id` in there is any other server's claim.
    `room_id` is set for the create event of version 12 too, whose PDU has none.
    `redacts` is set for redactions only, from where the room version keeps it; None as well
    where what stands there is no event ID.
    """

    event_id: EventID
    room_id: RoomID
    room_version: str
    type: str
    sender: UserID
    content: JsonObject
    origin_server_ts: int
    depth: int
    prev_events: tuple[EventID, ...]
    auth_events: tuple[EventID, ...]
    pdu: JsonObject
    state_key: str | None = None
    redacts: EventID | None = None

    @property
    def is_state(self) -> bool:
        """Whether the event is a state event, by having a state key."""
        return self.state_key is not None

    @property
    def membership(self) -> str | None:
        """`content.membership` of a member event when it is a string."""
        membership = self.content.get("membership")
        is_member = self.type == "m.room.member" and isinstance(membership, str)
        return membership if is_member else None
