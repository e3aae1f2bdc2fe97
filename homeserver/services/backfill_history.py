"""History that this server has not got, fetched when a user comes to where it is missing.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.fill_gap import FillGap
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.rooms.timeline import START
from homeserver.storage import history_gaps
from homeserver.storage.database import Database
from homeserver.storage.events import Place
from homeserver.storage.history_gaps import HistoryGap
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# How many servers are asked about one gap, and for how long a client waits for all that is asked
# for one answer.
MAX_SERVERS: Final = 4
PATIENCE_SECONDS: Final = 20.0
# A gap about which nobody could help is left alone for so long.
_PAUSE_SECONDS: Final = 120.0
_MAX_PAUSES: Final = 10_000


class BackfillHistory:
    """Fills gaps in the histories of rooms that this server is in."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        servers: ServersInRooms,
        fill_gap: FillGap,
        clock: Clock,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._heads = heads
        self._servers = servers
        self._fill_gap = fill_gap
        self._clock = clock
        self._own_name = own_name
        # Until when a gap is left alone; and who is at work on a room.
        self._pauses: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._working: dict[RoomID, asyncio.Lock] = {}

    async def gaps(self, access: RoomAccess) -> list[HistoryGap]:
        """Return the gaps beyond which the user may see something, the newest first."""
        async with self._database.connection("backfill_history") as connection:
            gaps = await history_gaps.gaps_of(connection, access.room_nid)
        now = self._clock.monotonic()
        return [
            gap
            for gap in gaps
            if gap.pos <= access.timeline_upto
            and self._pauses.get((access.room_nid, gap.child_nid), now) <= now
            and access.view.might_see_before(gap.pos, gap.sub)
        ]

    async def gap_between(
        self, access: RoomAccess, start: Place | None, end: Place | None
    ) -> HistoryGap | None:
        """Return the newest gap that who reads backwards from `start` to `end` comes across.

        None: from the newest, to the oldest event. Places as for `Timeline.page`.
        """
        gaps = await self.gaps(access)
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

    async def gap_ahead(
        self, access: RoomAccess, start: Place | None, end: Place | None
    ) -> HistoryGap | None:
        """Return the oldest gap that who reads forwards from `start` to `end` comes across.

        None: from the oldest, to the newest event. Places as for `Timeline.page`.
        """
        for gap in reversed(await self.gaps(access)):
            # What stands right before the gap's end is where the start may be: nothing is missing.
            if (start or START) < Place(gap.pos, gap.sub - 1):
                return gap if end is None or Place(gap.pos, gap.sub) <= end else None
        return None

    async def fill(
        self, access: RoomAccess, gap: HistoryGap, seconds: float = PATIENCE_SECONDS
    ) -> bool:
        """Fill a gap, in so many seconds at most; whether there is more now.

        Nothing is raised: history may always be incomplete. A gap about which nobody helps is no
        gap for a while.
        """
        lock = self._working.setdefault(access.room_id, asyncio.Lock())
        try:
            async with asyncio.timeout(seconds):
                async with lock:
                    if not await self._is_open(access, gap):
                        return True
                    if await self._ask(access, gap, seconds):
                        return True
        except TimeoutError:
            log.warning("history not had in time", room_id=access.room_id)
        finally:
            if not lock.locked():
                self._working.pop(access.room_id, None)
        self.leave_alone(access, gap)
        return False

    async def _is_open(self, access: RoomAccess, gap: HistoryGap) -> bool:
        """Whether the gap is as it was before others were waited for."""
        async with self._database.connection("backfill_history") as connection:
            gaps = await history_gaps.gaps_of(connection, access.room_nid)
        return any(each.missing == gap.missing for each in gaps)

    async def _ask(self, access: RoomAccess, gap: HistoryGap, seconds: float) -> bool:
        async def fill(head: RoomHead, server: ServerName) -> bool:
            return await self._fill_gap.fill(head, gap, server) > 0

        return await self.ask_servers(access.room_id, seconds, fill)

    async def ask_servers(
        self,
        room_id: RoomID,
        seconds: float,
        ask: Callable[[RoomHead, ServerName], Awaitable[bool]],
    ) -> bool:
        """Ask servers of a room until one has helped; whether one has.

        One after the other: what the first one gives need not be asked for again. Each has half of
        the time that is left, the last one all of it. RemoteError of `ask` is logged.
        """
        head = await self._heads.head(room_id)
        if head is None or not head.local_joined:
            return False
        servers = (await self._servers.others(head, self._own_name))[:MAX_SERVERS]
        until = self._clock.monotonic() + seconds
        for server in servers:
            left = until - self._clock.monotonic()
            try:
                async with asyncio.timeout(left if server == servers[-1] else left / 2):
                    if await ask(head, server):
                        return True
            except RemoteError as error:
                log.info("history not had", server=server, reason=error.reason)
            except TimeoutError:
                log.info("history not had in time", server=server)
        return False

    def leave_alone(self, access: RoomAccess, gap: HistoryGap) -> None:
        """Take a gap for none for a while: nobody can help."""
        key = (access.room_nid, gap.child_nid)
        self._pauses[key] = self._clock.monotonic() + _PAUSE_SECONDS
        self._pauses.move_to_end(key)
        if len(self._pauses) > _MAX_PAUSES:
            self._pauses.popitem(last=False)
