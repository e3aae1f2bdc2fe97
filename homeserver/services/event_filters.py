"""Asking a compiled filter about stored events. Spec: client-server-api/#filtering"""

from collections.abc import Callable, Collection
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType, field

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import UserID
from homeserver.storage.events import EventRecord

RecordPredicate: TypeAlias = Callable[[EventRecord], bool]


class _Content(msgspec.Struct):
    url: Raw | UnsetType = UNSET
    relates_to: Raw | UnsetType = field(default=UNSET, name="m.relates_to")


class _Core(msgspec.Struct):
    content: _Content


class _RelatesTo(msgspec.Struct):
    rel_type: str


_decode_core: Final = msgspec.json.Decoder(_Core).decode
_decode_relates_to: Final = msgspec.json.Decoder(_RelatesTo).decode


def record_predicate(
    matcher: EventMatcher, ignored: Collection[UserID] = frozenset()
) -> RecordPredicate:
    """Return what says whether the filter lets a stored event of an admitted room through.

    The content is decoded only for filters that ask about it. `related_by_*` are left aside:
    see `EventMatcher.matches_relations`. Of `ignored` users only state events pass.
    Spec: client-server-api/#ignoring-users
    """
    admits = _filter_predicate(matcher)
    if not ignored:
        return admits
    return lambda record: (
        (record.state_key is not None or record.sender not in ignored) and admits(record)
    )


def _filter_predicate(matcher: EventMatcher) -> RecordPredicate:
    if matcher.matches_everything:
        return lambda _record: True
    if _asks_about_content(matcher):
        return lambda record: _matches_with_content(matcher, record)
    return lambda record: matcher.matches(record.type, record.sender)


def _asks_about_content(matcher: EventMatcher) -> bool:
    events = matcher.filter
    return isinstance(events, RoomEventFilter) and bool(
        events.contains_url is not UNSET or events.rel_types is not UNSET or events.not_rel_types
    )


def _matches_with_content(matcher: EventMatcher, record: EventRecord) -> bool:
    content = _decode_core(record.core).content
    return matcher.matches(
        record.type,
        record.sender,
        has_url=content.url is not UNSET,
        rel_type=_rel_type(content.relates_to),
    )


def _rel_type(relates_to: Raw | UnsetType) -> str | None:
    if relates_to is UNSET:
        return None
    try:
        return _decode_relates_to(relates_to).rel_type
    except msgspec.ValidationError:
        # Anybody may write anything there; it is no relation then.
        return None
