"""Conditions of push rules, compiled to functions. None of them ever raises.

Spec: client-server-api/#conditions-1
"""

import operator
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from homeserver.protocol.canonical_json import MAX_INTEGER
from homeserver.protocol.event import Event
from homeserver.protocol.glob import compile_glob
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.property_path import ABSENT, Absent, property_at, split_property_path
from homeserver.protocol.push_rules.model import Condition

_MENTIONED_USERS_KEY: Final = r"content.m\.mentions.user_ids"
_BODY: Final = ("content", "body")
_COUNT: Final = re.compile(r"(==|<=|>=|<|>|)([0-9]{1,9})")  # nobody has a billion members
_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "": operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class RoomFacts(msgspec.Struct, frozen=True):
    """What conditions ask about the room, before the event; what is None is not known here.

    A condition on what is not known does not match.
    """

    member_count: int | None
    power_levels: PowerLevels | None


class UserFacts(msgspec.Struct, frozen=True):
    """What conditions ask about the owner of the rules. `display_name` is that of the room."""

    user_id: UserID
    display_name: str | None = None


class PushEvent:
    """An event seen by many evaluations, with what they have in common."""

    __slots__ = ("_root", "content", "event", "mentioned_users")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.content = event.content
        self.mentioned_users = mentioned_users(event.content)
        self._root: JsonObject | None = None

    @property
    def root(self) -> JsonObject:
        """The members of the event in the format of the client-server API."""
        if self._root is None:
            event = self.event
            self._root = {
                "content": event.content,
                "event_id": event.event_id,
                "origin_server_ts": event.origin_server_ts,
                "room_id": event.room_id,
                "sender": event.sender,
                "type": event.type,
            }
            if event.state_key is not None:
                self._root["state_key"] = event.state_key
            if event.redacts is not None:
                self._root["redacts"] = event.redacts
        return self._root


# The user is None for the default class: everybody whom the event does not single out.
Test: TypeAlias = Callable[[PushEvent, RoomFacts, UserFacts | None], bool]


def never(_event: PushEvent, _room: RoomFacts, _user: UserFacts | None) -> bool:
    """Match no event: what becomes of conditions that are unknown or malformed."""
    return False


def mentioned_users(content: JsonObject) -> frozenset[UserID]:
    """Return whom an event mentions; the IDs need not be valid. Spec: #user-and-room-mentions"""
    mentions = content.get("m.mentions")
    user_ids = mentions.get("user_ids") if isinstance(mentions, dict) else None
    if not isinstance(user_ids, list):
        return frozenset()
    return frozenset(UserID(user_id) for user_id in user_ids if isinstance(user_id, str))


def is_room_mention(content: JsonObject) -> bool:
    """Say whether an event mentions the room, whether or not the sender may."""
    mentions = content.get("m.mentions")
    return isinstance(mentions, dict) and mentions.get("room") is True


def compile_condition(condition: Condition) -> Test:
    """Turn a condition into a function; `never` itself when it can match no event."""
    if condition.own_user_member is not None:
        return _OWN_USER_TESTS.get((condition.kind, str(condition.source.get("key"))), never)
    compiler = _COMPILERS.get(condition.kind)
    return never if compiler is None else compiler(condition.source)


def compile_event_match(key: str, pattern: str) -> Test:
    """Compile a glob pattern on a property, on whole words of `content.body`."""
    names = split_property_path(key)
    read = _reader(names)
    if names != _BODY and "*" not in pattern and "?" not in pattern:
        literal = pattern.lower()

        def equals(event: PushEvent, _room: RoomFacts, _user: UserFacts | None) -> bool:
            value = read(event)
            return isinstance(value, str) and value.lower() == literal

        return equals
    glob = compile_glob(pattern, whole_word=names == _BODY)

    def fits(event: PushEvent, _room: RoomFacts, _user: UserFacts | None) -> bool:
        value = read(event)
        return isinstance(value, str) and glob.matches(value)

    return fits


def literal_event_match(condition: Condition, key: str) -> str | None:
    """Return the lower-case value that `key` must have for the condition, if it is so simple."""
    source = condition.source
    pattern = source.get("pattern")
    if condition.kind != "event_match" or source.get("key") != key or not isinstance(pattern, str):
        return None
    return None if "*" in pattern or "?" in pattern else pattern.lower()


def _reader(names: tuple[str, ...]) -> Callable[[PushEvent], JsonValue | Absent]:
    """Compile the access to a property; the usual depths are worth it."""
    first, *rest = names
    if first != "content" or not rest:
        return lambda event: property_at(event.root, names)
    if len(rest) == 1:
        name = rest[0]
        return lambda event: event.content.get(name, ABSENT)
    path = tuple(rest)
    return lambda event: property_at(event.content, path)


def _event_match(source: JsonObject) -> Test:
    key, pattern = source.get("key"), source.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return never
    return compile_event_match(key, pattern)


def _event_property_is(source: JsonObject) -> Test:
    key, expected = source.get("key"), source.get("value", ABSENT)
    if not isinstance(key, str) or not _is_simple(expected):
        return never
    read, kind = _reader(split_property_path(key)), type(expected)

    def is_expected(event: PushEvent, _room: RoomFacts, _user: UserFacts | None) -> bool:
        value = read(event)
        # "do not cast types": in Python 1 == True == 1.0
        return type(value) is kind and value == expected

    return is_expected


def _event_property_contains(source: JsonObject) -> Test:
    key, expected = source.get("key"), source.get("value", ABSENT)
    if not isinstance(key, str) or not _is_simple(expected):
        return never
    read, kind = _reader(split_property_path(key)), type(expected)

    def contains(event: PushEvent, _room: RoomFacts, _user: UserFacts | None) -> bool:
        values = read(event)
        return isinstance(values, list) and any(
            type(value) is kind and value == expected for value in values
        )

    return contains


def _is_simple(value: JsonValue | Absent) -> bool:
    """Whether a value is a "non-compound canonical JSON value", that is, can be compared."""
    if type(value) is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return value is None or isinstance(value, str | bool)


def _room_member_count(source: JsonObject) -> Test:
    text = source.get("is")
    match = _COUNT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return never
    compare, count = _COMPARISONS[match[1]], int(match[2])

    def is_count(_event: PushEvent, room: RoomFacts, _user: UserFacts | None) -> bool:
        return room.member_count is not None and compare(room.member_count, count)

    return is_count


def _sender_notification_permission(source: JsonObject) -> Test:
    key = source.get("key")
    if not isinstance(key, str):
        return never

    def has_level(event: PushEvent, room: RoomFacts, _user: UserFacts | None) -> bool:
        levels = room.power_levels
        if levels is None:
            return False
        return levels.of_user(event.event.sender) >= levels.notification(key)

    return has_level


def _contains_display_name(_source: JsonObject) -> Test:
    return _body_contains_display_name


def _body_contains_display_name(event: PushEvent, _room: RoomFacts, user: UserFacts | None) -> bool:
    body = event.content.get("body")
    if user is None or not user.display_name or not isinstance(body, str):
        return False
    name, body = user.display_name.lower(), body.lower()
    if name not in body:
        return False
    # A name is no glob: a star in it stands for itself.
    return re.search(f"{_BOUNDARY}{re.escape(name)}{_BOUNDARY}", body) is not None


# Between two characters of which one at least is no part of a word, or at an end of the value.
_BOUNDARY: Final = "(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"


def _mentions_owner(event: PushEvent, _room: RoomFacts, user: UserFacts | None) -> bool:
    return user is not None and user.user_id in event.mentioned_users


def _is_about_owner(event: PushEvent, _room: RoomFacts, user: UserFacts | None) -> bool:
    # Exact, where a glob would ignore case: a user ID is no pattern.
    return user is not None and user.user_id == event.event.state_key


_OWN_USER_TESTS: Final[dict[tuple[str, str], Test]] = {
    ("event_property_contains", _MENTIONED_USERS_KEY): _mentions_owner,
    ("event_match", "state_key"): _is_about_owner,
}
_COMPILERS: Final[dict[str, Callable[[JsonObject], Test]]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}
