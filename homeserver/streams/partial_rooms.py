"""Rooms that were joined with their members omitted, until these are all known.

A room's events say of themselves that the state before them is incomplete; that it is complete is
an entry of its own. So all nodes know the same at the same position.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile

from homeserver.storage import joined_rooms, log
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.streams.entries import ROOM_COMPLETED, EventEntry, LogEntry, UserEntry
from homeserver.streams.tail import Tail


class PartialRooms:
    """The rooms that are incomplete at the tail's position, and when others were completed."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail
        self._partial: frozenset[int] | None = None
        # By position. About 100 bytes for each room that ever came here by such a join.
        self._completed: dict[int, int] = {}
        self._waiting: defaultdict[int, list[asyncio.Future[None]]] = defaultdict(list)
        tail.follow(self._take, on_gap=self._forget)

    @property
    def now(self) -> frozenset[int] | None:
        """The incomplete rooms at the tail's position; None: they have to be loaded."""
        return self._partial

    def completed(self, after: int, upto: int) -> frozenset[int]:
        """Return the rooms that were completed last at a position in (after, upto].

        `now` has been there meanwhile.
        """
        newest = takewhile(lambda each: each[1] > after, reversed(self._completed.items()))
        return frozenset(room_nid for room_nid, position in newest if position <= upto)

    async def load(self) -> None:
        """Have `now` be there, unless entries are skipped meanwhile."""
        while self._partial is None:
            async with self._database.transaction(
                "partial_rooms", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                joins = await joined_rooms.partial_joins(tx)
                completed = await joined_rooms.completed_rooms(tx)
            entries = await self._tail.since(position)
            if entries is not None and self._partial is None:
                self._partial = frozenset(join.room_nid for join in joins)
                self._completed = completed
                self._take(entries)

    async def wait(self, room_nid: int, seconds: float) -> bool:
        """Wait until a room is complete; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_complete(room_nid):
                    await self._next_news(room_nid)
        except TimeoutError:
            return False
        return True

    async def is_partial(self, room_nid: int) -> bool:
        """Whether a room is incomplete."""
        return not await self._is_complete(room_nid)

    async def _is_complete(self, room_nid: int) -> bool:
        while self._partial is None:
            await self.load()
        return room_nid not in self._partial

    async def _next_news(self, room_nid: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[room_nid].append(future)
        try:
            await future
        finally:
            waiting = self._waiting[room_nid]
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                del self._waiting[room_nid]

    def _take(self, entries: Sequence[LogEntry]) -> None:
        if self._partial is None:
            return
        for entry in entries:
            if isinstance(entry, EventEntry):
                is_partial = bool(entry.record.flags & PARTIAL_STATE)
                # Of a room that was left incomplete, and joined again whole, nobody says more.
                if is_partial is not (entry.room_nid in self._partial):
                    self._partial ^= {entry.room_nid}
                    self._wake(entry.room_nid)
            elif isinstance(entry, UserEntry) and entry.kind == ROOM_COMPLETED:
                assert entry.room_nid is not None
                self._partial -= {entry.room_nid}
                self._completed.pop(entry.room_nid, None)
                self._completed[entry.room_nid] = entry.pos
                self._wake(entry.room_nid)

    def _wake(self, room_nid: int) -> None:
        for future in self._waiting.get(room_nid, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self) -> None:
        self._partial = None
        for room_nid in self._waiting:
            self._wake(room_nid)
