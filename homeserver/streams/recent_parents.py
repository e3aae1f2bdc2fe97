"""Which events others have lately related to: what the tail's entries of them do not show."""

from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.protocol.identifiers import EventID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.relations import relation_of
from homeserver.storage.event_writes import HAS_CHILDREN
from homeserver.storage.events import EventRecord
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.tail import Tail

# Some MB: twice as many as the tail has entries. Of those that it has dropped PostgreSQL knows.
MAX_PARENTS: Final = 40_000


class _Core(msgspec.Struct):
    content: JsonObject


_decode: Final = msgspec.json.Decoder(_Core).decode


class RecentParents:
    """Follows the relations among the tail's entries.

    An entry was made when the event was new, and so without children. Those of an event that is
    in the tail are in the tail as well, but for events of other servers that came late: these have
    been marked from the beginning.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        # There may be entries that nobody followed.
        self._missed = range(tail.floor + 1, tail.position + 1)
        # By the position of the newest child.
        self._parents: dict[EventID, int] = {}
        tail.follow(self._take, on_gap=self._parents.clear)

    def may_have_bundle(self, record: EventRecord) -> bool:
        """Whether somebody may have related to an event. State events get no bundles."""
        if record.state_key is not None:
            return False
        return (
            bool(record.flags & HAS_CHILDREN)
            or record.event_id in self._parents
            or record.pos in self._missed
        )

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if not isinstance(entry, EventEntry) or b'"m.relates_to":' not in entry.record.core:
                continue
            relation = relation_of(_decode(entry.record.core).content)
            if relation is not None:
                self._parents[relation.event_id] = entry.pos
        if len(self._parents) > MAX_PARENTS:
            self._drop_old()

    def _drop_old(self) -> None:
        floor = self._tail.floor
        recent = {event_id: pos for event_id, pos in self._parents.items() if pos > floor}
        self._parents.clear()
        self._parents.update(recent)
