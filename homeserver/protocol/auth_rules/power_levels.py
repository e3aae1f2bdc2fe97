"""The rules for `m.room.power_levels`."""

from collections.abc import Mapping

from homeserver.protocol.auth_rules.context import AuthContext
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.errors import AuthRefusal, InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import parse_user_id
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.power_levels import (
    DEFAULT_LEVELS,
    read_entries,
    read_level,
    read_named_level,
)
from homeserver.protocol.room_versions import RoomVersionRules


def check_power_levels(event: Event, context: AuthContext) -> None:
    """Judge a new set of power levels. Raises AuthRefusal."""
    rules = context.rules
    _check_defaults_shape(event.content, rules)
    _check_entries_shape(event.content, rules)
    _check_users_shape(event.content, rules)
    # If the users property in content contains the sender of the m.room.create event or any
    # of the additional_creators array, reject. (Version 12.)
    users = read_entries(event.content, "users")
    if not context.power_levels.creators.isdisjoint(users):
        raise AuthRefusal(AuthRule.POWER_LEVELS_CREATORS, "A creator's level can not be set")
    # If there is no previous m.room.power_levels event in the room, allow.
    current = context.get(("m.room.power_levels", ""))
    if current is not None:
        _Change(current.content, event, context).check()


def _check_defaults_shape(content: JsonObject, rules: RoomVersionRules) -> None:
    # If any of the properties users_default, events_default, state_default, ban, redact, kick,
    # or invite in content are present and not an integer, reject. (Version 10. Earlier ones
    # reject numbers out of range, and say nothing of values that are no number in any
    # spelling: those can not be judged or used, so they are refused as well.)
    for key in DEFAULT_LEVELS:
        if key in content and read_level(content[key], rules) is None:
            raise AuthRefusal(AuthRule.POWER_LEVELS_DEFAULTS, f"{key} must be an integer")


def _check_entries_shape(content: JsonObject, rules: RoomVersionRules) -> None:
    # If either of the properties events or notifications in content are present and not an
    # object with values that are integers, reject. (Version 10; earlier ones as above.)
    for key in _limited_entries(rules):
        if key in content and not _is_object_of_levels(content[key], rules):
            raise AuthRefusal(AuthRule.POWER_LEVELS_ENTRIES, f"{key} must be an object of integers")


def _check_users_shape(content: JsonObject, rules: RoomVersionRules) -> None:
    # If the users property in content is not an object with keys that are valid user IDs with
    # values that are integers (or a string that is an integer), reject. The schema of the
    # event does not require the property: absent, there is nothing to refuse.
    users = content.get("users", {})
    if not _is_object_of_levels(users, rules) or not all(map(_is_user_id, users)):
        raise AuthRefusal(
            AuthRule.POWER_LEVELS_USERS, "users must be an object of user IDs and integers"
        )


def _is_object_of_levels(value: JsonValue, rules: RoomVersionRules) -> bool:
    return isinstance(value, dict) and all(
        read_level(level, rules) is not None for level in value.values()
    )


def _is_user_id(key: str) -> bool:
    try:
        return bool(parse_user_id(key))
    except InvalidIdentifier:
        return False


def _limited_entries(rules: RoomVersionRules) -> tuple[str, ...]:
    """Return the objects of levels, besides `users`, that the rules look at."""
    return ("events", "notifications") if rules.limit_notification_levels else ("events",)


class _Change:
    """The difference between the current power levels and the ones that an event brings."""

    def __init__(self, current: JsonObject, event: Event, context: AuthContext) -> None:
        self._current, self._new = current, event.content
        self._sender = event.sender
        self._sender_level = context.power_levels.of_user(event.sender)
        self._rules = context.rules

    def check(self) -> None:
        for key in DEFAULT_LEVELS:
            self._check_default(key)
        for name in _limited_entries(self._rules):
            self._check_entries(name)
        self._check_users()

    def _check_default(self, key: str) -> None:
        # For the properties users_default, events_default, … check if they were added, changed
        # or removed.
        if self._level(self._current, key) == self._level(self._new, key):
            return
        # For each found alteration: if the current value is higher than the sender's current
        # power level, reject. "Power levels are inferred from defaults when not explicitly
        # supplied": the value of an absent property is its default.
        if read_named_level(self._current, key, self._rules) > self._sender_level:
            raise AuthRefusal(
                AuthRule.POWER_LEVELS_DEFAULT_CURRENT, f"{key} is above your power level"
            )
        # If the new value is higher than the sender's current power level, reject.
        if read_named_level(self._new, key, self._rules) > self._sender_level:
            raise AuthRefusal(
                AuthRule.POWER_LEVELS_DEFAULT_NEW, f"{key} would be above your power level"
            )

    def _check_entries(self, name: str) -> None:
        current, new = read_entries(self._current, name), read_entries(self._new, name)
        for key, level, new_level in self._differences(current, new):
            # For each entry being changed in, or removed from, the events or notifications
            # properties: if the current value is greater than the sender's current power
            # level, reject.
            if level is not None and level > self._sender_level:
                raise AuthRefusal(
                    AuthRule.POWER_LEVELS_ENTRY_CURRENT,
                    f"The level of {key} in {name} is above yours",
                )
            # For each entry being added to, or changed in, the events or notifications
            # properties: if the new value is greater than the sender's current power level,
            # reject.
            if new_level is not None and new_level > self._sender_level:
                raise AuthRefusal(
                    AuthRule.POWER_LEVELS_ENTRY_NEW,
                    f"The level of {key} in {name} would be above yours",
                )

    def _check_users(self) -> None:
        current, new = read_entries(self._current, "users"), read_entries(self._new, "users")
        for user_id, level, new_level in self._differences(current, new):
            # For each entry being changed in, or removed from, the users property, other than
            # the sender's own entry: if the current value is greater than or equal to the
            # sender's current power level, reject.
            is_own = user_id == self._sender
            if not is_own and level is not None and level >= self._sender_level:
                raise AuthRefusal(
                    AuthRule.POWER_LEVELS_USER_CURRENT, f"{user_id} has at least your power level"
                )
            # For each entry being added to, or changed in, the users property: if the new
            # value is greater than the sender's current power level, reject.
            if new_level is not None and new_level > self._sender_level:
                raise AuthRefusal(
                    AuthRule.POWER_LEVELS_USER_NEW, f"{user_id} would be above your power level"
                )

    def _differences(
        self, current: Mapping[str, JsonValue], new: Mapping[str, JsonValue]
    ) -> list[tuple[str, int | None, int | None]]:
        """List the entries whose levels differ; None where an entry is absent.

        The same number in another spelling is no difference.
        """
        pairs = (
            (key, self._level(current, key), self._level(new, key))
            for key in dict.fromkeys((*current, *new))
        )
        return [pair for pair in pairs if pair[1] != pair[2]]

    def _level(self, entries: Mapping[str, JsonValue], key: str) -> int | None:
        return read_level(entries.get(key), self._rules)
