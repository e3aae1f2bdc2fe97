"""Pages of a room's timeline, with what other servers have of it.

Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from typing import Final

from homeserver.protocol.filters import EventMatcher
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.timeline import START, Page
from homeserver.rooms.visibility import Visibility
from homeserver.services.backfill_history import BackfillHistory
from homeserver.services.room_pages import RoomPages
from homeserver.storage.events import Place

# A page of a hundred events needs one or two; more is for the next page.
MAX_FILLS: Final = 3


class HistoryPages:
    """Reads pages, and fills the gaps that a reader comes across on the way back."""

    def __init__(self, pages: RoomPages, backfill: BackfillHistory, visibility: Visibility) -> None:
        self._pages = pages
        self._backfill = backfill
        self._visibility = visibility

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

        See `RoomPages.page`.
        """
        fills = MAX_FILLS
        is_looking = backwards and limit > 0 and matcher.admits_room(access.room_id)
        while True:
            page = await self._pages.page(
                access, matcher, backwards=backwards, start=start, stop=stop, limit=limit
            )
            end = page.end if stop is None else max(stop, page.end or START)
            gap = await self._backfill.gap_between(access, start, end) if is_looking else None
            if gap is None:
                return page
            if fills == 0:
                # There is more, but not in this page.
                return page._replace(end=page.end or Place(gap.pos, gap.sub - 1))
            fills -= 1
            if not await self._backfill.fill(access, gap):
                continue
            # What came may have changed what the reader may see of it.
            view = await self._visibility.view(access.room_nid, access.view.user_id)
            access = access._replace(view=view)
