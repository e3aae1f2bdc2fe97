"""A room as it is now: its state and its newest events.

Spec: client-server-api/#get_matrixclientv3roomsroomidinitialsync
"""

from typing import NamedTuple

import msgspec

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.read_state import ReadState
from homeserver.rooms.timeline import Page, unbroken
from homeserver.services.room_pages import RoomPages, beyond
from homeserver.storage import account_data, aliases
from homeserver.storage.account_data import AccountDataRow
from homeserver.storage.database import Database
from homeserver.storage.events import Place
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

_encode = msgspec.json.Encoder().encode
_EVERYTHING = EventMatcher(RoomEventFilter())


class RoomSnapshot(NamedTuple):
    """A room for one reader, its events in client format, oldest first.

    `membership` None: the reader has never been in the room. From `start` goes on who paginates
    backwards, None: there is nothing more; from `end` who follows the room.
    """

    room_id: RoomID
    membership: str | None
    start: Place | None
    end: Place
    messages: list[bytes]
    state: list[bytes]
    is_published: bool
    account_data: list[bytes]


class RoomSnapshots:
    """Reads rooms in the name of users."""

    def __init__(
        self,
        database: Database,
        access: Access,
        pages: RoomPages,
        read_state: ReadState,
        tail: Tail,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._pages = pages
        self._read_state = read_state
        self._tail = tail
        self._clock = clock

    async def of_room(
        self, requester: Requester, room_id: RoomID, *, limit: int, upto: int | None = None
    ) -> RoomSnapshot:
        """Return a room with up to `limit` events; not after the position `upto`.

        Raises Forbidden.
        """
        access = await self._access.to_read(requester.user_id, room_id)
        if upto is not None:
            access = access._replace(
                upto=min(access.upto, upto), timeline_upto=min(access.timeline_upto, upto)
            )
        membership = await self._access.membership(requester.user_id, room_id)
        end = Place(access.timeline_upto, 0)
        page = await self._pages.page(access, _EVERYTHING, backwards=True, start=end, limit=limit)
        records = unbroken(page.records)
        if len(records) < len(page.records):
            page = Page(records, beyond(records[-1], backwards=True))
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        is_published, own = await self._facts(requester, access)
        return RoomSnapshot(
            room_id,
            None if membership is None or membership.is_forgotten else membership.membership,
            page.end,
            end,
            render_all(reversed(page.records), viewer, access.view, room_id),
            await self._read_state.all(access, viewer),
            is_published,
            own,
        )

    async def is_readable(self, requester: Requester, room_id: RoomID) -> bool:
        """Whether the requester may read a room."""
        return await self._access.to_read_or_none(requester.user_id, room_id) is not None

    async def _facts(self, requester: Requester, access: RoomAccess) -> tuple[bool, list[bytes]]:
        async with self._database.connection("room_snapshots") as connection:
            is_published = await aliases.is_published(connection, access.room_id)
            rows = await account_data.of_rooms(
                connection,
                requester.user_id,
                [access.room_nid],
                deleted_after=self._tail.position,
            )
        return is_published, [account_data_event(row) for row in rows if not row.is_deleted]


def account_data_event(row: AccountDataRow) -> bytes:
    """Return an entry as the event that clients know it as."""
    return b'{"type":%b,"content":%b}' % (_encode(row.type), row.content)
