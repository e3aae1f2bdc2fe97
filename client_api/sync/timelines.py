"""The timelines of an answer. Spec: client-server-api/#get_matrixclientv3sync"""

from collections.abc import Sequence
from typing import NamedTuple

from client_api.sync.request import SyncContext
from homeserver.protocol.pagination_token import PaginationToken
from homeserver.services.event_filters import RecordPredicate, record_predicate
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.streams.tail import Tail

# How many rows are read when a filter leaves most of them out: more would let one request
# read a whole room.
MAX_SCANNED = 1_000


class TimelineStretch(NamedTuple):
    """The newest events of a room after `since` that the filter lets through, oldest first.

    `start` is the position of the first of them, or one after the last position when there is
    none: the state block ends before it. `prev_batch` is where older events are to be had.
    """

    records: Sequence[EventRecord]
    is_limited: bool
    start: int
    prev_batch: str


class Timelines:
    """Reads timelines from the tail where it reaches far enough, else from PostgreSQL."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail

    async def of_room(
        self, context: SyncContext, room_nid: int, since: int | None, upto: int
    ) -> TimelineStretch:
        """Return the timeline of one room in (since, upto]."""
        if since is not None and since >= self._tail.floor:
            admits = _predicate(context)
            records = [
                entry.record
                for entry in self._tail.room_entries(room_nid, since, upto)
                if admits(entry.record)
            ]
            return _stretch(records, context.request.filter.timeline_limit, upto)
        return await self._read(context, room_nid, since or 0, upto)

    async def of_rooms(
        self, context: SyncContext, room_nids: Sequence[int], since: int, upto: int
    ) -> dict[int, TimelineStretch]:
        """Return the timelines of many rooms in (since, upto] with one statement."""
        limit = context.request.filter.timeline_limit
        async with self._database.connection("sync_timelines") as connection:
            rows = await events.newest_of_rooms(connection, room_nids, since, upto, limit + 1)
        by_room: dict[int, list[EventRecord]] = {room_nid: [] for room_nid in room_nids}
        for row in rows:
            by_room[row.room_nid].append(row)
        apart = {nid for nid, found in by_room.items() if _cut_apart(found)}
        stretches = {}
        admits = _predicate(context)
        for room_nid, found in by_room.items():
            admitted = [record for record in found if admits(record)]
            if len(admitted) < len(found) and len(found) > limit:
                # The filter left some out and there may be older ones that it lets through.
                stretches[room_nid] = await self._read(context, room_nid, since, upto)
            else:
                admitted.reverse()
                stretches[room_nid] = _stretch(admitted, limit, upto, is_limited=room_nid in apart)
        return stretches

    async def of_events(self, event_nids: Sequence[int]) -> list[EventRecord]:
        """Return single events."""
        async with self._database.connection("sync_timelines") as connection:
            return list((await events.events_by_nid(connection, event_nids)).values())

    async def _read(
        self, context: SyncContext, room_nid: int, since: int, upto: int
    ) -> TimelineStretch:
        limit = context.request.filter.timeline_limit
        found: list[EventRecord] = []
        before, after = Place(upto, 1), Place(since, 0)
        admits = _predicate(context)
        scanned, is_apart = 0, False
        while len(found) <= limit and scanned < MAX_SCANNED and not is_apart:
            wanted = max(limit + 1 - len(found), 20)
            async with self._database.connection("sync_timelines") as connection:
                rows = await events.timeline_backwards(connection, room_nid, before, after, wanted)
            count = len(rows)
            is_apart = _cut_apart(rows, before)
            found += filter(admits, rows)
            scanned += count
            if count < wanted and not is_apart:
                break
            before = Place(rows[-1].pos or 0, rows[-1].sub) if rows else before
        else:
            found = found[: limit + 1]
            found.reverse()
            return _stretch(found, limit, upto, is_limited=True)
        found.reverse()
        return _stretch(found[-limit - 1 :], limit, upto)


def _cut_apart(rows: list[EventRecord], newer: Place | None = None) -> bool:
    """Drop what stands apart in history from what is newer; whether there is any.

    `newer`: the place of the event before the first of the rows, which are the newest first.
    """
    for number, row in enumerate(rows):
        if newer is not None and row.pos == newer.pos and row.sub < newer.sub - 1:
            del rows[number:]
            return True
        newer = Place(row.pos or 0, row.sub)
    return False


def stretch_of(records: Sequence[EventRecord], upto: int, *, is_limited: bool) -> TimelineStretch:
    """Return a stretch of just these records."""
    if not records:
        return TimelineStretch((), is_limited, upto + 1, str(PaginationToken(upto, 0)))
    first = records[0]
    token = PaginationToken(first.pos or 0, first.sub - 1)
    return TimelineStretch(records, is_limited, first.pos or 0, str(token))


def _stretch(
    records: list[EventRecord], limit: int, upto: int, *, is_limited: bool = False
) -> TimelineStretch:
    is_limited = is_limited or len(records) > limit
    kept = records[len(records) - limit :] if len(records) > limit else records
    return stretch_of(kept, upto, is_limited=is_limited)


def _predicate(context: SyncContext) -> RecordPredicate:
    return record_predicate(context.request.filter.timeline, context.ignored)
