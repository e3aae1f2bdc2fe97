"""What is known of stored events: facts in memory, PDUs in the event cache."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import OUTLIER, PARTIAL_STATE, REJECTED, SOFT_FAILED
from homeserver.storage.received_events import EventFacts
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# About 400 bytes each.
MAX_FACTS: Final = 20_000


class Around(NamedTuple):
    """What is stored of an event, its own row as an outlier if there is one, and its prev events.

    Of the `missing` ones the states are not known, and those of `gap` not even the events.
    """

    own: EventFacts | None
    prevs: dict[EventID, EventFacts]
    missing: list[EventID]
    gap: list[EventID]


class KnownEvents:
    """Looks up stored events by their IDs."""

    def __init__(self, database: Database, cache: EventCache) -> None:
        self._database = database
        self._cache = cache
        # Nothing of them ever changes once an event is no outlier, and judged on a whole state.
        self._facts: OrderedDict[EventID, EventFacts] = OrderedDict()

    async def facts(self, event_ids: Iterable[EventID]) -> dict[EventID, EventFacts]:
        """Return the facts of those of the events that are stored, outliers among them."""
        found: dict[EventID, EventFacts] = {}
        missing: list[EventID] = []
        for event_id in dict.fromkeys(event_ids):
            facts = self._facts.get(event_id)
            if facts is None:
                missing.append(event_id)
            else:
                self._facts.move_to_end(event_id)
                found[event_id] = facts
        if missing:
            async with self._database.connection("event_facts") as connection:
                rows = await received_events.facts_of(connection, missing)
            for facts in rows:
                found[facts.event_id] = facts
                if not facts.flags & (OUTLIER | PARTIAL_STATE):
                    self._facts[facts.event_id] = facts
            while len(self._facts) > MAX_FACTS:
                self._facts.popitem(last=False)
        return found

    async def events(self, facts: Iterable[EventFacts]) -> dict[EventID, Event]:
        """Return events that are stored."""
        found = await self._cache.get([each.event_nid for each in facts])
        return {event.event_id: event for event in found.values()}

    async def around(self, event: Event, head: RoomHead) -> Around | None:
        """Return what is stored around an event; None: nothing is to be done about it."""
        facts = await self.facts([event.event_id, *event.prev_events])
        own = facts.pop(event.event_id, None)
        if own is not None and not is_outlier(own):
            return None
        if any(each.room_nid != head.room_nid for each in facts.values()):
            log.warning("prev event of another room", event_id=event.event_id, sender=event.sender)
            return None
        prevs = {each: facts[each] for each in event.prev_events if has_state(facts.get(each))}
        missing = [each for each in dict.fromkeys(event.prev_events) if each not in prevs]
        gap = [each for each in missing if is_outlier(facts.get(each))]
        return Around(own, prevs, missing, gap)


def is_outlier(facts: EventFacts | None) -> bool:
    """Whether an event has no place among the others, or is not stored at all."""
    return facts is None or bool(facts.flags & OUTLIER)


def has_state(facts: EventFacts | None) -> bool:
    """Whether the state before an event is known: not of outliers and of backfilled history."""
    if facts is None or is_outlier(facts):
        return False
    return bool(facts.state_nid) or facts.type == "m.room.create"


def is_rejected(facts: EventFacts) -> bool:
    """Whether an event did not pass authorization."""
    return bool(facts.flags & REJECTED)


def is_extremity_material(facts: EventFacts) -> bool:
    """Whether new events may follow an event."""
    return not facts.flags & (OUTLIER | REJECTED | SOFT_FAILED)
