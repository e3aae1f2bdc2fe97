"""Pages of a room's timeline, with what other servers have of it.

Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from typing import Final

from homeserver.protocol.filters import EventMatcher
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.timeline import END, START, Page, place_of
from homeserver.rooms.visibility import Visibility
from homeserver.services.backfill_history import PATIENCE_SECONDS, BackfillHistory
from homeserver.services.distant_history import DistantHistory
from homeserver.services.room_pages import RoomPages
from homeserver.storage.events import Place
from homeserver.storage.history_gaps import HistoryGap
from homeserver.telemetry.clock import Clock

# A page of a hundred events needs one or two; more is for the next page. Unless there would be
# nothing at all in this one.
MAX_FILLS: Final = 3
MAX_FILLS_FOR_ANY: Final = 10
# With less than that nobody is asked any more.
_LEAST_SECONDS: Final = 2.0


class Budget:
    """What one answer may cost: so many times others are asked, until all of the time is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + PATIENCE_SECONDS
        self._fills = 0

    def spend(self, *, has_any: bool) -> float | None:
        """Return how many seconds others may take once more; None: no more.

        `has_any`: there is something to answer with already.
        """
        seconds = self._until - self._clock.monotonic()
        most = MAX_FILLS if has_any else MAX_FILLS_FOR_ANY
        if self._fills >= most or seconds < _LEAST_SECONDS:
            return None
        self._fills += 1
        return seconds

    def renew(self) -> "Budget":
        """Allow for another page of the same answer as often, in the time that is left."""
        self._fills = 0
        return self


class HistoryPages:
    """Reads pages, and fills the gaps that a reader comes across."""

    def __init__(
        self,
        pages: RoomPages,
        backfill: BackfillHistory,
        distant: DistantHistory,
        visibility: Visibility,
        clock: Clock,
    ) -> None:
        self._pages = pages
        self._backfill = backfill
        self._distant = distant
        self._visibility = visibility
        self._clock = clock

    def budget(self) -> Budget:
        """Return what one answer may cost, however many pages it has."""
        return Budget(self._clock)

    async def page(
        self,
        access: RoomAccess,
        matcher: EventMatcher,
        budget: Budget,
        *,
        backwards: bool,
        start: Place | None,
        stop: Place | None = None,
        limit: int,
    ) -> Page:
        """Read up to `limit` events that the reader may see and the filter lets through.

        See `RoomPages.page`.
        """
        is_looking = limit > 0 and matcher.admits_room(access.room_id)
        while True:
            page = await self._pages.page(
                access, matcher, backwards=backwards, start=start, stop=stop, limit=limit
            )
            if not is_looking:
                return page
            if backwards:
                end = page.end if stop is None else max(stop, page.end or START)
                gap = await self._backfill.gap_between(access, start, end)
            else:
                end = page.end if stop is None else min(stop, page.end or END)
                gap = await self._backfill.gap_ahead(access, start, end)
            if gap is None:
                return page
            # There is more, but not in this page, if there is no time for it.
            cut = _before(page, gap) if backwards else _after(page, gap, start or START)
            seconds = budget.spend(has_any=bool(cut.records))
            if seconds is None:
                return cut
            fill = self._backfill.fill if backwards else self._distant.bridge
            if not await fill(access, gap, seconds):
                continue
            # What came may have changed what the reader may see of it.
            view = await self._visibility.view(access.room_nid, access.view.user_id)
            access = access._replace(view=view)


def _before(page: Page, gap: HistoryGap) -> Page:
    """Cut a page that is read backwards where it comes to a gap."""
    end = Place(gap.pos, gap.sub)
    kept = [record for record in page.records if place_of(record) >= end]
    return Page(kept, Place(end.pos, end.sub - 1))


def _after(page: Page, gap: HistoryGap, start: Place) -> Page:
    """Cut a page that is read forwards where it comes to a gap.

    Of a page of nothing the end is another place than the start, without any event between them:
    clients take the same place for the end of the room.
    """
    kept = [record for record in page.records if place_of(record) < Place(gap.pos, gap.sub)]
    if kept:
        return Page(kept, place_of(kept[-1]))
    sub = start.sub if start.pos == gap.pos else START.sub
    return Page([], Place(gap.pos, sub + 1)) if sub + 1 < gap.sub - 1 else page
