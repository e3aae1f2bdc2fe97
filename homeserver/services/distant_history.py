"""Single events of a room's past, brought without all of what came after them.

Spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
"""

import asyncio
from typing import Final

from homeserver.ports import EventsByTime
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.fill_gap import PAGE
from homeserver.rooms.receive.jump import Jump, gap_above
from homeserver.rooms.receive.known import KnownEvents, is_outlier
from homeserver.services.backfill_history import PATIENCE_SECONDS, BackfillHistory
from homeserver.storage import history_stretches
from homeserver.storage.database import Database
from homeserver.storage.history_gaps import HistoryGap
from homeserver.storage.history_stretches import Neighbor
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# Pages of history that one event is worth which cannot stand alone.
MAX_PAGES_TO_EVENT: Final = 10
# Pages that are had at once rather than to have one more stretch that stands apart.
_PAGES_AT_ONCE: Final = 2
# How often a server is asked for an event that is neither too far away nor too close.
_MAX_PROBES: Final = 4


class DistantHistory:
    """Asks other servers for events at a time, for who may see what is missing there."""

    def __init__(
        self,
        database: Database,
        known: KnownEvents,
        backfill: BackfillHistory,
        jump: Jump,
        by_time: EventsByTime,
    ) -> None:
        self._database = database
        self._known = known
        self._backfill = backfill
        self._jump = jump
        self._by_time = by_time

    async def bring(
        self, access: RoomAccess, ts: int, *, forwards: bool, known_ts: int | None
    ) -> bool:
        """Bring the event closest to a time (ms), if one is missing that is closer than `known_ts`.

        Returns whether there is more now. Nothing is raised.
        """
        gaps = () if known_ts == ts else await self._backfill.gaps(access)
        if not any(gap.ts > ts for gap in gaps):
            return False

        async def ask(head: RoomHead, server: ServerName) -> bool:
            event_id, told_ts = await self._by_time.timestamp_to_event(
                server, access.room_id, ts, forwards=forwards
            )
            if not _is_closer(told_ts, ts, known_ts, forwards=forwards):
                return False
            event = await self._jump.fetch(head, event_id, server)
            # What it told of the time was not signed.
            if event is None or not _is_closer(
                event.origin_server_ts, ts, known_ts, forwards=forwards
            ):
                return False
            return await self._reach(access, head, event, server)

        return await self._backfill.ask_servers(access.room_id, PATIENCE_SECONDS, ask)

    async def bridge(self, access: RoomAccess, gap: HistoryGap, seconds: float) -> bool:
        """Bring some of what comes next for who has read up to a gap; whether there is more now.

        That is the end of a page right after the older side, which is filled in from there on. A
        gap that is not wide is filled at once. As `BackfillHistory.fill`.
        """
        try:
            async with asyncio.timeout(seconds):
                if await self._jump_ahead(access, gap, seconds / 2):
                    return True
                return await self._backfill.fill(access, gap, seconds)
        except TimeoutError:
            log.warning("history not had in time", room_id=access.room_id)
            self._backfill.leave_alone(access, gap)
            return False

    async def _jump_ahead(self, access: RoomAccess, gap: HistoryGap, seconds: float) -> bool:
        async with self._database.connection("distant_history") as connection:
            older = await history_stretches.older_neighbor(
                connection, access.room_nid, gap.pos, gap.sub
            )
        if older is not None and gap.depth - older.depth <= PAGE:
            return False

        async def ask(head: RoomHead, server: ServerName) -> bool:
            event = await self._next(head, gap, older, server)
            return event is not None and await self._jump.place(head, event, server)

        return await self._backfill.ask_servers(access.room_id, seconds, ask)

    async def _reach(
        self, access: RoomAccess, head: RoomHead, event: Event, server: ServerName
    ) -> bool:
        """Let an event have a place: with all that comes after it where that is not much."""
        for number in range(MAX_PAGES_TO_EVENT):
            facts = await self._known.facts([event.event_id])
            if not is_outlier(facts.get(event.event_id)):
                return True
            gap = gap_above(await self._backfill.gaps(access), event)
            if gap is None:
                return number > 0
            is_near = gap.depth - event.depth <= PAGE and number < _PAGES_AT_ONCE
            if not is_near and await self._jump.place(head, event, server):
                return True
            # A page at a time: each begins where the one before has ended.
            if not await self._backfill.fill(access, gap):
                return number > 0
        return True

    async def _next(
        self, head: RoomHead, gap: HistoryGap, older: Neighbor | None, server: ServerName
    ) -> Event | None:
        """Look for an event less than a page after the older side of a gap, or the very first."""
        if older is None:
            return await self._at(head, 0, server)
        best: Event | None = None
        ts = _closer_by(older.ts, gap.ts, gap.depth - older.depth)
        for _ in range(_MAX_PROBES):
            event = await self._at(head, ts, server)
            if event is not None and older.depth < event.depth < gap.depth:
                best = event if best is None or event.depth < best.depth else best
                if event.depth - older.depth <= PAGE:
                    break
                next_ts = _closer_by(older.ts, ts, event.depth - older.depth)
            else:
                next_ts = older.ts + max((ts - older.ts) // 4, 1)
            if next_ts >= ts:
                break
            ts = next_ts
        return best

    async def _at(self, head: RoomHead, ts: int, server: ServerName) -> Event | None:
        """Return the first event from a time on, if it has no place here yet."""
        event_id, _ = await self._by_time.timestamp_to_event(
            server, head.room_id, ts, forwards=True
        )
        return await self._jump.fetch(head, event_id, server)


def _is_closer(found_ts: int, ts: int, known_ts: int | None, *, forwards: bool) -> bool:
    if forwards:
        return found_ts >= ts and (known_ts is None or found_ts < known_ts)
    return found_ts <= ts and (known_ts is None or found_ts > known_ts)


def _closer_by(older_ts: int, ts: int, depth: int) -> int:
    """Return the time at which most of a page has passed, of so many events until `ts`."""
    return older_ts + max((ts - older_ts) * (PAGE * 3 // 4) // max(depth, 1), 1)
