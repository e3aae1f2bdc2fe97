"""Filters: what a client may ask to be left out. Spec: client-server-api/#filtering

Lists that are absent include everything; an empty list includes nothing.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field

from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidIdentifier, InvalidJson
from homeserver.protocol.event_fields import EventFields
from homeserver.protocol.identifiers import RoomID, UserID, parse_room_id, parse_user_id
from homeserver.protocol.json_types import JsonObject

# "Servers should apply a default value, and impose a maximum value": enough to fill a screen,
# and what fits a response that is still pleasant on a slow connection.
DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 500
# Patterns with a wildcard elsewhere than at the end are tried one by one for each event.
MAX_PATTERNS: Final = 200

# The text asks for more than 0, but very many clients send 0 for "no events".
_Limit = Annotated[int, msgspec.Meta(ge=0)]
_Names: TypeAlias = tuple[str, ...]


class InvalidFilter(InvalidJson):
    """A filter breaks the schema; the message names the place."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events of a kind to send: presence, account data."""

    limit: _Limit | UnsetType = UNSET
    senders: tuple[UserID, ...] | UnsetType = UNSET
    not_senders: tuple[UserID, ...] = ()
    types: _Names | UnsetType = UNSET
    not_types: _Names = ()

    def bounded_limit(self, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> int:
        """Return how many events to send at most. May be 0."""
        return default if self.limit is UNSET else min(self.limit, maximum)


class RoomEventFilter(EventFilter, frozen=True, kw_only=True, omit_defaults=True):
    """Which events of rooms to send: timeline, state, ephemeral, account data of rooms.

    `related_by_*` look at the events that relate to an event (MSC3440), `rel_types` and
    `not_rel_types` at its own relation (MSC3874).
    """

    rooms: tuple[RoomID, ...] | UnsetType = UNSET
    not_rooms: tuple[RoomID, ...] = ()
    contains_url: bool | UnsetType = UNSET
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    unstable_unread_thread_notifications: bool = field(
        default=False, name="org.matrix.msc3773.unread_thread_notifications"
    )
    related_by_senders: tuple[UserID, ...] | UnsetType = UNSET
    related_by_rel_types: _Names | UnsetType = UNSET
    rel_types: _Names | UnsetType = field(default=UNSET, name="org.matrix.msc3874.rel_types")
    not_rel_types: _Names = field(default=(), name="org.matrix.msc3874.not_rel_types")


class RoomFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which rooms, and what of each."""

    rooms: tuple[RoomID, ...] | UnsetType = UNSET
    not_rooms: tuple[RoomID, ...] = ()
    include_leave: bool = False
    ephemeral: RoomEventFilter = RoomEventFilter()
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole filter of `/sync`. `Filter()` lets everything through."""

    event_fields: _Names = ()
    event_format: Literal["client", "federation"] = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()


_Parsed = TypeVar("_Parsed", Filter, RoomEventFilter)


def parse_filter(source: bytes | JsonObject) -> Filter:
    """Read a filter of `/sync`. Unknown members are ignored. Raises InvalidFilter."""
    parsed = _convert(source, Filter)
    for events in (parsed.presence, parsed.account_data):
        _check_events(events)
    _check_room_ids(parsed.room)
    for events in (parsed.room.ephemeral, parsed.room.state, parsed.room.timeline):
        _check_room_events(events)
    _check_room_events(parsed.room.account_data)
    _refuse(EventFields.of, parsed.event_fields)
    return parsed


def parse_room_event_filter(source: bytes | JsonObject) -> RoomEventFilter:
    """Read the filter of `/messages`, `/context` or `/search`. Raises InvalidFilter."""
    parsed = _convert(source, RoomEventFilter)
    _check_room_events(parsed)
    return parsed


def _convert(source: bytes | JsonObject, target: type[_Parsed]) -> _Parsed:
    try:
        value = decode_json(source) if isinstance(source, bytes) else source
        return msgspec.convert(value, target)
    except (InvalidJson, msgspec.ValidationError) as fault:
        raise InvalidFilter(f"invalid filter: {fault}") from None


def _check_events(events: EventFilter) -> None:
    _refuse(parse_user_id, *(events.senders or ()), *events.not_senders)
    for types in (events.types or (), events.not_types):
        if sum("*" in name[:-1] for name in types) > MAX_PATTERNS:
            raise InvalidFilter(f"more than {MAX_PATTERNS} wildcards inside event types")


def _check_room_ids(events: RoomFilter | RoomEventFilter) -> None:
    _refuse(parse_room_id, *(events.rooms or ()), *events.not_rooms)


def _check_room_events(events: RoomEventFilter) -> None:
    _check_events(events)
    _check_room_ids(events)
    _refuse(parse_user_id, *(events.related_by_senders or ()))


_Argument = TypeVar("_Argument")


def _refuse(parse: Callable[[_Argument], object], *values: _Argument) -> None:
    """Turn the refusal of a part into one of the filter."""
    try:
        for value in values:
            parse(value)
    except (InvalidIdentifier, InvalidJson) as fault:
        raise InvalidFilter(f"invalid filter: {fault}") from None


class TypePatterns:
    """Event types, in which `*` stands for any sequence of characters.

    Linear in the length of the type, whatever the patterns.
    """

    __slots__ = ("_exact", "_prefixes", "_split")

    def __init__(self, patterns: Iterable[str]) -> None:
        wild = {pattern for pattern in patterns if "*" in pattern}
        self._exact = frozenset(patterns) - wild
        self._prefixes = tuple(p[:-1] for p in wild if p.index("*") == len(p) - 1)
        self._split = tuple(p.split("*") for p in wild if p.index("*") < len(p) - 1)

    def match(self, event_type: str) -> bool:
        """Say whether any of the patterns matches the whole type."""
        return (
            event_type in self._exact
            or event_type.startswith(self._prefixes)
            or any(_matches_parts(event_type, parts) for parts in self._split)
        )


def _matches_parts(text: str, parts: list[str]) -> bool:
    first, *inner, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return False
    # The earliest place for each part leaves the most room for the next ones.
    start, end = len(first), len(text) - len(last)
    for part in inner:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return start <= end


class EventMatcher:
    """A compiled event filter. Rooms are asked for once, with `admits_room`."""

    __slots__ = (
        "_contains_url",
        "_not_rel_types",
        "_not_rooms",
        "_not_senders",
        "_not_types",
        "_rel_types",
        "_rooms",
        "_senders",
        "_types",
        "filter",
        "matches_everything",
        "matches_nothing",
    )

    def __init__(self, events: EventFilter) -> None:
        room_events = events if isinstance(events, RoomEventFilter) else RoomEventFilter()
        self.filter = events
        self._senders = _optional_set(events.senders)
        self._not_senders = frozenset(events.not_senders)
        self._types = None if events.types is UNSET else TypePatterns(events.types)
        self._not_types = TypePatterns(events.not_types) if events.not_types else None
        self._rooms = _optional_set(room_events.rooms)
        self._not_rooms = frozenset(room_events.not_rooms)
        self._contains_url = room_events.contains_url
        self._rel_types = _optional_set(room_events.rel_types)
        self._not_rel_types = frozenset(room_events.not_rel_types)
        # `related_by_*` are not asked here: see `matches_relations`.
        self.matches_everything = (
            events.senders is UNSET
            and events.types is UNSET
            and self._contains_url is UNSET
            and self._rel_types is None
            and not (events.not_senders or events.not_types or self._not_rel_types)
        )
        self.matches_nothing = () in (events.senders, events.types)

    def admits_room(self, room_id: RoomID) -> bool:
        """Say whether any event of the room may pass."""
        return _admits(room_id, self._rooms, self._not_rooms)

    def matches(
        self,
        event_type: str,
        sender: str | None = None,
        *,
        has_url: bool = False,
        rel_type: str | None = None,
    ) -> bool:
        """Say whether an event of an admitted room passes, its children left aside.

        `has_url`: the content has a member `url`. `sender` is None where events have none
        (typing, receipts, account data); then only a list of senders excludes them.
        """
        return self.matches_everything or (
            _admits(sender, self._senders, self._not_senders)
            and (self._types is None or self._types.match(event_type))
            and (self._not_types is None or not self._not_types.match(event_type))
            and (self._contains_url is UNSET or self._contains_url == has_url)
            and _admits(rel_type, self._rel_types, self._not_rel_types)
        )

    @property
    def needs_relations(self) -> bool:
        """Whether `matches_relations` has to be asked too."""
        return isinstance(self.filter, RoomEventFilter) and not (
            self.filter.related_by_senders is UNSET and self.filter.related_by_rel_types is UNSET
        )

    def matches_relations(self, children: Iterable[tuple[UserID, str]]) -> bool:
        """Say whether one of the events relating to an event is as asked for.

        `children` are their senders and `rel_type`s.
        """
        if not isinstance(self.filter, RoomEventFilter) or not self.needs_relations:
            return True
        senders, rel_types = self.filter.related_by_senders, self.filter.related_by_rel_types
        return any(
            (senders is UNSET or sender in senders)
            and (rel_types is UNSET or rel_type in rel_types)
            for sender, rel_type in children
        )


_Name = TypeVar("_Name", bound=str)


def _optional_set(names: tuple[_Name, ...] | UnsetType) -> frozenset[_Name] | None:
    return None if names is UNSET else frozenset(names)


def _admits(name: str | None, included: frozenset[str] | None, excluded: frozenset[str]) -> bool:
    return (included is None or name in included) and name not in excluded


class CompiledFilter:
    """A filter of `/sync`, ready to be asked. Costs some µs to make: keep it."""

    __slots__ = (
        "_not_rooms",
        "_rooms",
        "account_data",
        "ephemeral",
        "event_fields",
        "filter",
        "presence",
        "room_account_data",
        "state",
        "timeline",
    )

    def __init__(self, source: Filter) -> None:
        room = source.room
        self.filter = source
        self.presence = EventMatcher(source.presence)
        self.account_data = EventMatcher(source.account_data)
        self.timeline = EventMatcher(room.timeline)
        self.state = EventMatcher(room.state)
        self.ephemeral = EventMatcher(room.ephemeral)
        self.room_account_data = EventMatcher(room.account_data)
        # "A server may include more fields than were requested": an empty list is no wish.
        self.event_fields = EventFields.of(source.event_fields) if source.event_fields else None
        self._rooms = _optional_set(room.rooms)
        self._not_rooms = frozenset(room.not_rooms)

    def admits_room(self, room_id: RoomID) -> bool:
        """Say whether the room may appear. Asked before the filters of its parts."""
        return _admits(room_id, self._rooms, self._not_rooms)

    @property
    def timeline_limit(self) -> int:
        """How many timeline events a room may have."""
        return self.filter.room.timeline.bounded_limit()

    @property
    def lazy_load_members(self) -> bool:
        """Whether only the members that the timeline needs are sent."""
        return self.filter.room.state.lazy_load_members

    @property
    def include_redundant_members(self) -> bool:
        """Whether members are sent again that the client has been sent before."""
        return self.filter.room.state.include_redundant_members

    @property
    def unread_thread_notifications(self) -> bool:
        """Whether unread counts are told apart by thread."""
        timeline = self.filter.room.timeline
        return timeline.unread_thread_notifications or timeline.unstable_unread_thread_notifications
