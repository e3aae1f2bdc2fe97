"""Pages of a room's timeline as a filter wants them.

Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from collections.abc import Sequence
from typing import Final

from homeserver.protocol.filters import EventMatcher
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.timeline import Page, Timeline, place_of
from homeserver.services.event_filters import RecordPredicate, record_predicate
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.streams.personal_rules import PersonalRuleIndex

# Events are read in batches of this many when each has to be held against its relations, …
_BATCH: Final = 100
# … and so many times before the client is given what there is: it goes on from `end`.
_MAX_BATCHES: Final = 10


class RoomPages:
    """Reads pages, for who has access; without what users say whom the reader ignores."""

    def __init__(
        self, database: Database, timeline: Timeline, personal_rules: PersonalRuleIndex
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._personal_rules = personal_rules

    async def page(
        self,
        access: RoomAccess,
        matcher: EventMatcher,
        *,
        backwards: bool,
        start: Place | None,
        stop: Place | None = None,
        limit: int,
    ) -> Page:
        """Read up to `limit` events that the reader may see and the filter lets through.

        A page of none goes on where it starts. See `Timeline.page`.
        """
        if matcher.matches_nothing or not matcher.admits_room(access.room_id):
            return Page([], None)
        if limit == 0:
            return Page([], start)
        if matcher.needs_relations:
            return await self._related(
                access, matcher, backwards=backwards, start=start, stop=stop, limit=limit
            )
        return await self._timeline.page(
            access,
            backwards=backwards,
            start=start,
            stop=stop,
            limit=limit,
            matches=await self._predicate(access, matcher),
        )

    async def _related(
        self,
        access: RoomAccess,
        matcher: EventMatcher,
        *,
        backwards: bool,
        start: Place | None,
        stop: Place | None,
        limit: int,
    ) -> Page:
        found: list[EventRecord] = []
        end = start
        matches = await self._predicate(access, matcher)
        for _ in range(_MAX_BATCHES):
            # Each batch begins where the one before has ended.
            page = await self._timeline.page(
                access, backwards=backwards, start=end, stop=stop, limit=_BATCH, matches=matches
            )
            found += await self._with_relations(matcher, page.records)
            if len(found) >= limit:
                return _cut(found, page, limit, backwards=backwards)
            end = page.end
            if end is None:
                break
        return Page(found, end)

    async def _predicate(self, access: RoomAccess, matcher: EventMatcher) -> RecordPredicate:
        personal = await self._personal_rules.of_user(access.view.user_id)
        return record_predicate(matcher, personal.ignored if personal is not None else frozenset())

    async def _with_relations(
        self, matcher: EventMatcher, records: Sequence[EventRecord]
    ) -> list[EventRecord]:
        if not records:
            return []
        async with self._database.connection("room_pages") as connection:
            related = await relations.related_by(connection, [each.event_id for each in records])
        return [
            record
            for record in records
            if matcher.matches_relations(related.get(record.event_id, ()))
        ]


def beyond(record: EventRecord, *, backwards: bool) -> Place:
    """Return the place where a page goes on that ends with the event."""
    place = place_of(record)
    return Place(place.pos, place.sub - 1) if backwards else place


def _cut(found: list[EventRecord], page: Page, limit: int, *, backwards: bool) -> Page:
    last = found[limit - 1]
    if len(found) == limit and page.records and page.records[-1] is last:
        return Page(found, page.end)
    return Page(found[:limit], beyond(last, backwards=backwards))
