"""Pagination through a room's history.

Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.read_state import ReadState
from homeserver.rooms.timeline import START
from homeserver.services.aggregations import Aggregations
from homeserver.services.history_pages import HistoryPages
from homeserver.services.room_tokens import state_position
from homeserver.storage.events import EventRecord, Place
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class MessagesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which stretch of a timeline; `start` None is the end from which the direction begins."""

    backwards: bool
    start: Place | None = None
    stop: Place | None = None
    limit: int
    filter: RoomEventFilter = RoomEventFilter()


class MessagesPage(NamedTuple):
    """Events in client format, and the member events that a lazily loading client needs.

    `end` None: there is nothing more.
    """

    start: Place
    end: Place | None
    chunk: list[bytes]
    state: list[bytes] | None


class Messages:
    """Reads the history of rooms in the name of users."""

    def __init__(
        self,
        access: Access,
        pages: HistoryPages,
        read_state: ReadState,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._access = access
        self._pages = pages
        self._read_state = read_state
        self._aggregations = aggregations
        self._clock = clock

    async def read(
        self, requester: Requester, room_id: RoomID, wanted: MessagesRequest
    ) -> MessagesPage:
        """Return a page of the events that the requester may see. Raises Forbidden."""
        access = await self._access.to_read(requester.user_id, room_id)
        start = wanted.start
        if start is None:
            start = Place(access.timeline_upto, 0) if wanted.backwards else START
        page = await self._pages.page(
            access,
            EventMatcher(wanted.filter),
            self._pages.budget(),
            backwards=wanted.backwards,
            start=start,
            stop=wanted.stop,
            limit=wanted.limit,
        )
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        bundles = await self._aggregations.of_page(access, viewer, page.records)
        chunk = render_all(page.records, viewer, access.view, room_id, bundles)
        state = None
        if wanted.filter.lazy_load_members:
            members = await self._senders(access, page.records)
            state = render_all(members, viewer, access.view, room_id)
        return MessagesPage(start, page.end, chunk, state)

    async def _senders(
        self, access: RoomAccess, records: Sequence[EventRecord]
    ) -> Sequence[EventRecord]:
        """Return the senders' member events as of the first event of the page.

        Whoever joins later in a page has the join event in it.
        """
        if not records:
            return []
        first = Place(records[0].pos or 0, records[0].sub)
        senders = {record.sender for record in records}
        return await self._read_state.members_at(access.room_nid, senders, state_position(first))
