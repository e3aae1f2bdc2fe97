"""Reading the timeline of a room: pages of it, one event, and what surrounds an event.

Spec: client-server-api/#getting-events-for-a-room, client-server-api/#event-context
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.visibility import RoomView
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.storage.history_stretches import MIN_DISTANCE

# How many rows are read to fill a page when a filter or the visibility leaves most of them out.
MAX_SCANNED: Final = 2_000
# Before the first and behind the last event of any room; sub is an integer column.
START: Final = Place(0, -(2**31))
END: Final = Place(2**63 - 1, 0)


class Page(NamedTuple):
    """Events in the order asked for, and where to go on: None when there is nothing more."""

    records: list[EventRecord]
    end: Place | None


class Timeline:
    """Reads events for those who have access."""

    def __init__(self, database: Database, access: Access, erasure: Erasure) -> None:
        self._database = database
        self._access = access
        self._erasure = erasure

    async def page(
        self,
        access: RoomAccess,
        *,
        backwards: bool,
        start: Place | None,
        stop: Place | None,
        limit: int,
        matches: Callable[[EventRecord], bool],
    ) -> Page:
        """Read up to `limit` events that the reader may see and the filter lets through.

        A place is that right after the event of the same (pos, sub). None for `start` is the end
        from which the direction begins.
        """
        last = Place(access.timeline_upto, 0)
        if backwards:
            begin = min(start, last) if start is not None else last
            page = await self._backwards(access, begin, stop or START, limit, matches)
        else:
            end = min(stop or last, last)
            page = await self._forwards(access, start or START, end, limit, matches)
        return Page(list(await self._erasure.as_seen(page.records, access.view)), page.end)

    async def event(self, user_id: UserID, room_id: RoomID, event_id: EventID) -> EventRecord:
        """Return an event of a room. Raises NotFound, also where the reader may not see it."""
        access = await self._access.to_read_or_none(user_id, room_id)
        if access is None:
            raise NotFound("Event not found.")
        return await self.visible_event(access, event_id)

    async def visible_event(self, access: RoomAccess, event_id: EventID) -> EventRecord:
        """Return an event that the reader may see. Raises NotFound."""
        async with self._database.connection("timeline") as connection:
            record = await events.event_by_id(connection, event_id)
        if (
            record is None
            or record.room_nid != access.room_nid
            or record.pos is None
            or record.pos > access.timeline_upto
            or not access.view.may_see(record)
        ):
            raise NotFound("Event not found.")
        return (await self._erasure.as_seen([record], access.view))[0]

    async def as_seen(self, records: Sequence[EventRecord], view: RoomView) -> list[EventRecord]:
        """Return events that were read elsewhere as the reader gets them: see `Erasure`."""
        return list(await self._erasure.as_seen(records, view))

    async def _backwards(
        self,
        access: RoomAccess,
        begin: Place,
        stop: Place,
        limit: int,
        matches: Callable[[EventRecord], bool],
    ) -> Page:
        found: list[EventRecord] = []
        # The event of the place itself is the first one met.
        before = Place(begin.pos, begin.sub + 1)
        scanned = 0
        while scanned < MAX_SCANNED:
            wanted = max(limit - len(found), 20)
            async with self._database.connection("timeline") as connection:
                rows = await events.timeline_backwards(
                    connection, access.room_nid, before, stop, wanted
                )
            for row in rows:
                before = place_of(row)
                if access.view.may_see(row) and matches(row):
                    found.append(row)
                    if len(found) == limit:
                        return Page(found, Place(before.pos, before.sub - 1))
            scanned += len(rows)
            if len(rows) < wanted:
                return Page(found, None)
        return Page(found, Place(before.pos, before.sub - 1))

    async def _forwards(
        self,
        access: RoomAccess,
        begin: Place,
        stop: Place,
        limit: int,
        matches: Callable[[EventRecord], bool],
    ) -> Page:
        found: list[EventRecord] = []
        after = begin
        end = Place(stop.pos, stop.sub + 1)
        scanned = 0
        while scanned < MAX_SCANNED:
            wanted = max(limit - len(found), 20)
            async with self._database.connection("timeline") as connection:
                rows = await events.timeline_forwards(
                    connection, access.room_nid, after, end, wanted
                )
            for row in rows:
                after = place_of(row)
                if access.view.may_see(row) and matches(row):
                    found.append(row)
                    if len(found) == limit:
                        return Page(found, after)
            scanned += len(rows)
            if len(rows) < wanted:
                return Page(found, None)
        return Page(found, after)


def unbroken(
    records: Sequence[EventRecord], beside: EventRecord | None = None
) -> list[EventRecord]:
    """Return the first of some neighbors, up to what stands apart from them in history.

    `beside`: the event that they begin beside.
    """
    for number, record in enumerate(records):
        is_near = beside is None or abs(beside.sub - record.sub) < MIN_DISTANCE
        if not is_near and beside is not None and beside.pos == record.pos:
            return list(records[:number])
        beside = record
    return list(records)


def place_of(record: EventRecord) -> Place:
    """Return the place right after an event of the timeline."""
    assert record.pos is not None
    return Place(record.pos, record.sub)
