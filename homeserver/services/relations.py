"""The children of an event. Spec: client-server-api/#relationships-api"""

from typing import Final, NamedTuple

import msgspec

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.timeline import START, Timeline, place_of
from homeserver.services.aggregations import Aggregations, sight_of
from homeserver.services.room_pages import beyond
from homeserver.storage import events, relations
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.storage.relations import ChildrenWanted
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# "Homeservers SHOULD traverse at least 3 levels of relationships." Enough for the edits of, and
# the reactions to, the messages of a thread.
MAX_DEPTH: Final = 3


class RelationsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which children; `start` None is the end from which the direction begins."""

    rel_type: str | None = None
    event_type: str | None = None
    backwards: bool = True
    start: Place | None = None
    stop: Place | None = None
    limit: int
    recurse: bool = False


class RelationsPage(NamedTuple):
    """Events in client format; `end` None: there is nothing more."""

    chunk: list[bytes]
    end: Place | None


class Relations:
    """Reads the children of events in the name of users."""

    def __init__(
        self,
        database: Database,
        access: Access,
        timeline: Timeline,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._timeline = timeline
        self._aggregations = aggregations
        self._clock = clock

    async def of_event(
        self, requester: Requester, room_id: RoomID, event_id: EventID, wanted: RelationsRequest
    ) -> RelationsPage:
        """Return a page of the children that the requester may see, and is not ignoring.

        Raises NotFound, also where the requester may not see the event or read the room.
        """
        access = await self._access.to_read_or_none(requester.user_id, room_id)
        if access is None:
            raise NotFound("Event not found.")
        await self._timeline.visible_event(access, event_id)
        ignored = await self._aggregations.ignored_by(requester.user_id)
        after, before = _bounds(access, wanted)
        records = await self._records(
            ChildrenWanted(
                access.room_nid,
                event_id,
                wanted.rel_type,
                wanted.event_type,
                MAX_DEPTH if wanted.recurse else 1,
                after,
                before,
                sight_of(access).visible,
                ignored,
                newest_first=wanted.backwards,
                # One more tells whether there are more.
                limit=wanted.limit + 1,
            )
        )
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        shown = records[: wanted.limit]
        bundles = await self._aggregations.of_page(access, viewer, shown)
        seen = await self._timeline.as_seen(shown, access.view)
        chunk = render_all(seen, viewer, access.view, room_id, bundles)
        return RelationsPage(chunk, _end(records, wanted))

    async def _records(self, wanted: ChildrenWanted) -> list[EventRecord]:
        async with self._database.connection("relations") as connection:
            nids = await relations.children(connection, wanted)
            found = await events.events_by_nid(connection, nids) if nids else {}
        return [found[nid] for nid in nids if nid in found]


def _bounds(access: RoomAccess, wanted: RelationsRequest) -> tuple[Place, Place]:
    """Return the places strictly between which the children stand.

    A token stands right after an event of its numbers.
    """
    last = Place(access.timeline_upto, 0)
    newest, oldest = wanted.start, wanted.stop
    if not wanted.backwards:
        newest, oldest = oldest, newest
    newest = min(newest or last, last)
    return oldest or START, Place(newest.pos, newest.sub + 1)


def _end(records: list[EventRecord], wanted: RelationsRequest) -> Place | None:
    """Return where to go on after `limit` of the records, None if these are all there are."""
    if len(records) <= wanted.limit:
        return None
    if wanted.limit == 0:
        # The page begins where it ends: on this side of the first event.
        return place_of(records[0]) if wanted.backwards else beyond(records[0], backwards=True)
    return beyond(records[wanted.limit - 1], backwards=wanted.backwards)
