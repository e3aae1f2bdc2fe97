"""Power levels: who may do what in a room.

Spec: client-server-api/#mroompower_levels
"""

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.protocol.create import RoomCreation
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules

# "The allowed range for power level values is [-(2**53)+1, (2**53)-1]".
_MAX_LEVEL: Final = 2**53 - 1
# Room versions that do not enforce canonical JSON take any double.
_MAX_DOUBLE: Final = int(1.7976931348623157e308)
_MAX_DOUBLE_DIGITS: Final = 309
# Stands for the infinite level of a version 12 creator: above every level that JSON can state
# there, so that comparing levels needs no special case.
CREATOR_LEVEL: Final = _MAX_LEVEL + 1

_STRING_LEVEL: Final = re.compile(r"([+-]?)([0-9]+)")

# What holds where the content, or the whole event, does not say.
DEFAULT_LEVELS: Final[Mapping[str, int]] = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}
_DEFAULT_NOTIFICATION_LEVEL: Final = 50
_CREATOR_LEVEL_WITHOUT_EVENT: Final = 100


class PowerLevels(msgspec.Struct, frozen=True, kw_only=True):
    """The power levels in force at some point of a room.

    `users`, `events` and `notifications` are the content's own objects and are read one entry
    at a time: a long list costs nothing until somebody asks. Unreadable entries count as absent.
    """

    rules: RoomVersionRules
    # Above all levels, whatever `users` says. Empty before version 12.
    creators: frozenset[UserID]
    users: Mapping[str, JsonValue]
    events: Mapping[str, JsonValue]
    notifications: Mapping[str, JsonValue]
    users_default: int
    events_default: int
    state_default: int
    ban: int
    redact: int
    kick: int
    invite: int

    def of_user(self, user_id: UserID) -> int:
        """Return the level of a user, CREATOR_LEVEL for a privileged creator."""
        if user_id in self.creators:
            return CREATOR_LEVEL
        return self._entry(self.users, user_id, self.users_default)

    def required_for(self, event_type: str, *, is_state: bool) -> int:
        """Return the required power level of an event type.

        Spec: server-server-api/#definitions
        """
        default = self.state_default if is_state else self.events_default
        return self._entry(self.events, event_type, default)

    def notification(self, key: str) -> int:
        """Return the level needed to notify by `key`, such as `room`."""
        return self._entry(self.notifications, key, _DEFAULT_NOTIFICATION_LEVEL)

    def may_send(self, user_id: UserID, event_type: str, *, is_state: bool) -> bool:
        """Whether the level suffices for the event type; membership has rules of its own."""
        return self.of_user(user_id) >= self.required_for(event_type, is_state=is_state)

    def may_redact(self, user_id: UserID) -> bool:
        """Whether the user may redact the events of others."""
        return self.of_user(user_id) >= self.redact

    def may_invite(self, user_id: UserID) -> bool:
        """Whether the level suffices to invite."""
        return self.of_user(user_id) >= self.invite

    def may_kick(self, user_id: UserID, target: UserID) -> bool:
        """Whether the levels suffice to remove `target` from the room."""
        level = self.of_user(user_id)
        return level >= self.kick and level > self.of_user(target)

    def may_ban(self, user_id: UserID, target: UserID) -> bool:
        """Whether the levels suffice to ban `target`."""
        level = self.of_user(user_id)
        return level >= self.ban and level > self.of_user(target)

    def _entry(self, entries: Mapping[str, JsonValue], key: str, default: int) -> int:
        level = read_level(entries.get(key), self.rules)
        return default if level is None else level


def parse_power_levels(
    creation: RoomCreation, content: JsonObject | None, rules: RoomVersionRules
) -> PowerLevels:
    """Read the content of `m.room.power_levels`; None where the room has no such event.

    Without the event the creator has level 100, or stands above all levels where creators
    do. What is unreadable counts as absent; nothing is raised.
    """
    if content is None:
        content = _content_without_event(creation)
    levels = {key: read_named_level(content, key, rules) for key in DEFAULT_LEVELS}
    return PowerLevels(
        rules=rules,
        creators=creation.creators if rules.privileged_creators else frozenset(),
        users=read_entries(content, "users"),
        events=read_entries(content, "events"),
        notifications=read_entries(content, "notifications"),
        **levels,
    )


def read_named_level(content: JsonObject, key: str, rules: RoomVersionRules) -> int:
    """Return one of the levels named in DEFAULT_LEVELS, or its default."""
    level = read_level(content.get(key), rules)
    return DEFAULT_LEVELS[key] if level is None else level


def read_entries(content: JsonObject, key: str) -> Mapping[str, JsonValue]:
    """Return `users`, `events` or `notifications`, empty when absent or not an object."""
    entries = content.get(key)
    return entries if isinstance(entries, dict) else {}


def read_level(value: JsonValue, rules: RoomVersionRules) -> int | None:
    """Return the level that a JSON value states in this room version, or None if it states none.

    Integers everywhere; before version 10 strings of an integer too; and floats, cut at the
    decimal point, where canonical JSON is not enforced. A boolean is no integer.
    Spec: rooms/v9/#mroompower_levels-events-accept-values-as-strings,
    rooms/v5/#mroompower_levels-events-accept-values-as-floats
    """
    # `type` and not isinstance: bool is a subclass of int.
    level = value if type(value) is int else _deprecated_level(value, rules)
    limit = _MAX_LEVEL if rules.strict_canonical_json else _MAX_DOUBLE
    return level if level is not None and -limit <= level <= limit else None


def _content_without_event(creation: RoomCreation) -> JsonObject:
    if creation.creator is None:
        return {}
    return {"users": {creation.creator: _CREATOR_LEVEL_WITHOUT_EVENT}}


def _deprecated_level(value: JsonValue, rules: RoomVersionRules) -> int | None:
    if isinstance(value, str) and not rules.integer_power_levels:
        return _level_of_string(value)
    if isinstance(value, float) and not rules.strict_canonical_json:
        return _level_of_float(value)
    return None


def _level_of_string(text: str) -> int | None:
    match = _STRING_LEVEL.fullmatch(text.strip())
    if match is None:
        return None
    digits = match[2].lstrip("0") or "0"
    # Python refuses to convert thousands of digits, and no such number is in range.
    return int(match[1] + digits) if len(digits) <= _MAX_DOUBLE_DIGITS else None


def _level_of_float(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
