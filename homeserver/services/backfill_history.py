"""History that this server has not got, fetched when a user comes to where it is missing.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from homeserver.errors import RemoteError
from homeserver.ports import EventsByTime
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.fill_gap import FillGap
from homeserver.rooms.receive.known import KnownEvents, is_outlier
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.storage import history_gaps
from homeserver.storage.database import Database
from homeserver.storage.events import Place
from homeserver.storage.history_gaps import HistoryGap
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# How many servers are asked about one gap, and for how long a client waits for all of them.
MAX_SERVERS: Final = 4
PATIENCE_SECONDS: Final = 20.0
# A gap about which nobody could help is left alone for so long.
_PAUSE_SECONDS: Final = 120.0
_MAX_PAUSES: Final = 10_000
# Pages of history that looking for a time is worth.
MAX_PAGES_TO_TIME: Final = 10


class BackfillHistory:
    """Fills gaps in the histories of rooms that this server is in."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        known: KnownEvents,
        servers: ServersInRooms,
        fill_gap: FillGap,
        by_time: EventsByTime,
        clock: Clock,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._heads = heads
        self._known = known
        self._servers = servers
        self._fill_gap = fill_gap
        self._by_time = by_time
        self._clock = clock
        self._own_name = own_name
        # Until when a gap is left alone; and who is at work on a room.
        self._pauses: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._working: dict[RoomID, asyncio.Lock] = {}

    async def fill_towards(self, access: RoomAccess, ts: int, *, forwards: bool) -> bool:
        """Fill the gap in which another server knows an event closest to a time (ms).

        As far as `MAX_PAGES_TO_TIME` pages go, without a hole. Returns whether there is more now.
        """
        for number in range(MAX_PAGES_TO_TIME):
            gap = await self._gap_at(access, ts)
            if gap is None or not await self._is_worth(access, ts, forwards=forwards):
                return number > 0
            # A page at a time: each begins where the one before has ended.
            if not await self.fill(access, gap):
                return number > 0
        return True

    async def _gaps(self, access: RoomAccess) -> list[HistoryGap]:
        """Return the gaps beyond which the user may see something."""
        async with self._database.connection("backfill_history") as connection:
            gaps = await history_gaps.gaps_of(connection, access.room_nid)
        now = self._clock.monotonic()
        return [
            gap
            for gap in gaps
            if gap.pos <= access.timeline_upto
            and self._pauses.get((access.room_nid, gap.pos), now) <= now
            and access.view.might_see_before(gap.pos, gap.sub)
        ]

    async def gap_between(
        self, access: RoomAccess, start: Place | None, end: Place | None
    ) -> HistoryGap | None:
        """Return the newest gap that who reads backwards from `start` to `end` comes across.

        None: from the newest, to the oldest event. Places as for `Timeline.page`.
        """
        gaps = await self._gaps(access)
        if not gaps:
            return None
        last = None
        if start is not None:
            async with self._database.connection("backfill_history") as connection:
                # The gap right behind the start is the one before the next event.
                last = await history_gaps.next_place(connection, access.room_nid, *start)
        for gap in gaps:
            place = Place(gap.pos, gap.sub)
            if last is not None and place > last:
                continue
            # The oldest event of the page stands right behind `end`.
            if end is None or place > Place(end.pos, end.sub + 1):
                return gap
            return None
        return None

    async def _gap_at(self, access: RoomAccess, ts: int) -> HistoryGap | None:
        later = [gap for gap in await self._gaps(access) if gap.ts > ts]
        return later[-1] if later else None

    async def _is_worth(self, access: RoomAccess, ts: int, *, forwards: bool) -> bool:
        """Whether some server knows an event at a time that is not known here."""
        for server in await self._candidates(access.room_id):
            try:
                event_id, _ = await self._by_time.timestamp_to_event(
                    server, access.room_id, ts, forwards=forwards
                )
            except RemoteError as error:
                log.info("event by time not had", server=server, reason=error.reason)
                continue
            facts = await self._known.facts([event_id])
            return is_outlier(facts.get(event_id))
        return False

    async def fill(self, access: RoomAccess, gap: HistoryGap) -> bool:
        """Fill a gap; whether there is more now.

        Nothing is raised: history may always be incomplete. A gap about which nobody helps is no
        gap for a while.
        """
        lock = self._working.setdefault(access.room_id, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async with lock:
                    if not await self._is_open(access, gap):
                        return True
                    if await self._ask(access, gap):
                        return True
        except TimeoutError:
            log.warning("history not had in time", room_id=access.room_id)
        finally:
            if not lock.locked():
                self._working.pop(access.room_id, None)
        self._pause(access.room_nid, gap.pos)
        return False

    async def _is_open(self, access: RoomAccess, gap: HistoryGap) -> bool:
        """Whether the gap is as it was before others were waited for."""
        async with self._database.connection("backfill_history") as connection:
            gaps = await history_gaps.gaps_of(connection, access.room_nid)
        return any(each.missing == gap.missing for each in gaps)

    async def _ask(self, access: RoomAccess, gap: HistoryGap) -> bool:
        head = await self._heads.head(access.room_id)
        if head is None or not head.local_joined:
            return False
        for server in await self._candidates(access.room_id):
            try:
                # One after the other: what the first one gives need not be asked for again.
                if await self._fill_gap.fill(head, gap, server):
                    return True
            except RemoteError as error:
                log.info("history not had", server=server, reason=error.reason)
        return False

    async def _candidates(self, room_id: RoomID) -> Sequence[ServerName]:
        head: RoomHead | None = await self._heads.head(room_id)
        if head is None or not head.local_joined:
            return []
        return (await self._servers.others(head, self._own_name))[:MAX_SERVERS]

    def _pause(self, room_nid: int, pos: int) -> None:
        self._pauses[room_nid, pos] = self._clock.monotonic() + _PAUSE_SECONDS
        self._pauses.move_to_end((room_nid, pos))
        if len(self._pauses) > _MAX_PAUSES:
            self._pauses.popitem(last=False)
