"""The results of a search by room or sender. Spec: client-server-api/#groups"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from homeserver.protocol.identifiers import EventID
from homeserver.rooms.access import RoomAccess
from homeserver.services.search_token import Group, GroupKey, Order, SearchToken, token_after
from homeserver.storage.events import EventRecord
from homeserver.storage.search import Candidate


class ResultGroup(NamedTuple):
    """Results that have something in common; the group of the first result has order 1."""

    order: int
    results: list[EventID]
    next_batch: SearchToken | None


ResultGroups: TypeAlias = dict[str, dict[str, ResultGroup]]


class Grouping(NamedTuple):
    """A page of results, what would come after it, and whether that is all there is."""

    chosen: Sequence[tuple[Candidate, EventRecord]]
    rest: Sequence[Candidate]
    is_end: bool
    rooms: Mapping[int, RoomAccess]
    order: Order
    total: int

    def by(self, key: GroupKey) -> dict[str, ResultGroup]:
        """Return the groups of the page, each with where it goes on."""
        going_on = {self._value(key, candidate) for candidate in self.rest}
        members: dict[str, list[tuple[Candidate, EventRecord]]] = {}
        for candidate, record in self.chosen:
            members.setdefault(self._value(key, candidate), []).append((candidate, record))
        return {
            value: ResultGroup(
                number,
                [record.event_id for _, record in some],
                token_after(some[-1][0], self.order, self.total, Group(key, value))
                if value in going_on or not self.is_end
                else None,
            )
            for number, (value, some) in enumerate(members.items(), 1)
        }

    def _value(self, key: GroupKey, candidate: Candidate) -> str:
        if key == "sender":
            return candidate.sender
        return self.rooms[candidate.room_nid].room_id
