"""Jumping to a date.

Spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Final

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.sync_token import MAX_POSITION
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.timeline import MAX_SCANNED
from homeserver.services.distant_history import DistantHistory
from homeserver.storage import event_times, events
from homeserver.storage.database import Database
from homeserver.storage.event_times import TimedEvent
from homeserver.storage.events import EventRecord

_BATCH: Final = 20
# Events have no times beyond: canonical JSON has no greater integers.
_MAX_TS: Final = 2**53


class ClosestEvent:
    """Finds events by their time, in the name of users."""

    def __init__(self, database: Database, access: Access, distant: DistantHistory) -> None:
        self._database = database
        self._access = access
        self._distant = distant

    async def find(
        self, user_id: UserID, room_id: RoomID, ts: int, *, forwards: bool
    ) -> EventRecord:
        """Return the closest event at a time (ms) or after it (before it) that the user may see.

        Of several at one time the first (last) in the timeline. Raises Forbidden; NotFound: there
        is none.
        """
        access = await self._access.to_read(user_id, room_id)
        record = await self._closest(access, ts, forwards=forwards)
        known_ts = record.origin_server_ts if record is not None else None
        if await self._distant.bring(access, ts, forwards=forwards, known_ts=known_ts):
            access = await self._access.to_read(user_id, room_id)
            record = await self._closest(access, ts, forwards=forwards)
        if record is None:
            direction = "forward" if forwards else "backward"
            raise NotFound(f"Unable to find event from {ts} in {direction} direction")
        return record

    async def _closest(self, access: RoomAccess, ts: int, *, forwards: bool) -> EventRecord | None:
        """Return the closest of the events that are here."""
        ts_in_range = max(-_MAX_TS, min(ts, _MAX_TS))
        read = event_times.events_from if forwards else event_times.events_upto
        place = (ts_in_range, -1 if forwards else MAX_POSITION, 0)
        for _ in range(MAX_SCANNED // _BATCH):
            async with self._database.connection("closest_event") as connection:
                rows = await read(connection, access.room_nid, place, access.timeline_upto, _BATCH)
                found = await events.events_by_nid(connection, [row.event_nid for row in rows])
            for row in rows:
                record = found.get(row.event_nid)
                if record is not None and access.view.may_see(record):
                    return record
            if len(rows) < _BATCH:
                break
            place = _place_of(rows[-1])
        return None


def _place_of(row: TimedEvent) -> tuple[int, int, int]:
    return row.origin_server_ts, row.pos, row.sub
