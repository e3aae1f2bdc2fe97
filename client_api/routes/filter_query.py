"""The `limit` and `filter` parameters of operations that return events."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from homeserver.protocol.filters import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    RoomEventFilter,
    parse_room_event_filter,
)
from homeserver.web.params import Query


class FilterQuery(Query, frozen=True, kw_only=True):
    """How many events, and which: `filter` is a RoomEventFilter as JSON."""

    limit: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    filter: str = ""

    def chosen(self) -> RoomEventFilter:
        """Return the filter; without one everything passes. Raises InvalidFilter."""
        return parse_room_event_filter(self.filter.encode()) if self.filter else RoomEventFilter()

    def bounded_limit(self, chosen: RoomEventFilter) -> int:
        """Return how many events to return at most: the filter may have a limit as well."""
        if self.limit is UNSET:
            return chosen.bounded_limit(DEFAULT_LIMIT, MAX_LIMIT)
        return min(self.limit, MAX_LIMIT)
