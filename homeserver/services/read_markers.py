"""Fully read markers: up to where a user has read everything.

Spec: client-server-api/#read-and-unread-markers
"""

from typing import Final

import msgspec

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.rooms.timeline import Timeline, place_of
from homeserver.services.account_data import AccountData
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord

FULLY_READ: Final = "m.fully_read"

_decode: Final = msgspec.json.Decoder(JsonObject).decode


class ReadMarkers:
    """Keeps the markers, as account data of rooms that only this server writes."""

    def __init__(self, database: Database, timeline: Timeline, account_data: AccountData) -> None:
        self._database = database
        self._timeline = timeline
        self._account_data = account_data

    async def move(self, user_id: UserID, room_id: RoomID, event_id: EventID) -> None:
        """Move a marker forward; one that would go back stays where it is.

        Another device may have read further. Raises NotFound: the room has no such event, or the
        user may not see it.
        """
        record = await self._timeline.event(user_id, room_id, event_id)
        while True:
            found = await self._account_data.find(user_id, FULLY_READ, room_id=room_id)
            seen = None if found is None else _decode(found)
            if seen is not None and not await self._is_ahead(record, seen.get("event_id")):
                return
            if await self._replace(user_id, room_id, seen, {"event_id": event_id}):
                return

    async def _replace(
        self, user_id: UserID, room_id: RoomID, seen: JsonObject | None, content: JsonObject
    ) -> bool:
        """Write a marker in place of the one that was seen; False: another one is there by now."""
        is_same = False

        def change(present: JsonObject | None) -> JsonObject | None:
            nonlocal is_same
            is_same = present == seen
            return content if is_same else None

        await self._account_data.change(user_id, FULLY_READ, change, room_id=room_id)
        return is_same

    async def _is_ahead(self, record: EventRecord, marked: JsonValue) -> bool:
        async with self._database.connection("read_markers") as connection:
            other = await events.event_by_id(connection, marked)
        return other is None or other.pos is None or place_of(record) > place_of(other)
