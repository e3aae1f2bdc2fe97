"""What an event is judged by: the parsed parts of one room state."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.create import RoomCreation, room_creation
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey, StateMap
from homeserver.protocol.join_rules import JoinRules, parse_join_rules
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.power_levels import PowerLevels, parse_power_levels
from homeserver.protocol.room_versions import RoomVersionRules

StateLookup: TypeAlias = Callable[[StateKey], Event | None]


class AuthContext(msgspec.Struct, frozen=True, kw_only=True):
    """A room state, with the parts that every event needs already parsed.

    Whoever keeps a room's state in memory keeps these parts too, so that a message is judged
    without parsing anything. `get` looks up any event of the same state.
    """

    rules: RoomVersionRules
    creation: RoomCreation
    power_levels: PowerLevels
    join_rules: JoinRules
    get: StateLookup

    def membership_of(self, user_id: str) -> str | None:
        """Return the membership of a user in this state, None without a member event."""
        event = self.get(("m.room.member", user_id))
        return None if event is None else event.membership


def auth_context(state: StateMap[Event], rules: RoomVersionRules) -> AuthContext:
    """Parse what the rules need of a state.

    The create event must be in `state` in every room version, although version 12 does not
    list it among the auth events. Raises AuthRefusal without it.
    """
    create_event = state.get(("m.room.create", ""))
    if create_event is None:
        raise AuthRefusal(AuthRule.ROOM_CREATE, "The room has no create event")
    creation = room_creation(create_event, rules)
    power_levels = _content_of(state, "m.room.power_levels")
    return AuthContext(
        rules=rules,
        creation=creation,
        power_levels=parse_power_levels(creation, power_levels, rules),
        join_rules=parse_join_rules(_content_of(state, "m.room.join_rules"), rules),
        get=state.get,
    )


def _content_of(state: StateMap[Event], event_type: str) -> JsonObject | None:
    event = state.get((event_type, ""))
    return None if event is None else event.content
