"""Numbers for new rows, reserved in blocks so that a write knows them before it is made."""

import asyncio

from homeserver.storage import rooms
from homeserver.storage.database import Database

# At 2,000 events a second one statement each half second; a crash wastes at most this many.
BLOCK = 1_000


class _Sequence:
    """Hands out the numbers of one database sequence."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._lock = asyncio.Lock()
        self._next = 0
        self._end = 0
        self.blocks: list[range] = []

    async def take(self) -> int:
        if self._next >= self._end:
            async with self._lock:
                if self._next >= self._end:
                    await self._reserve()
        number = self._next
        self._next += 1
        return number

    async def _reserve(self) -> None:
        async with self._database.connection("row_numbers") as connection:
            block = await rooms.reserve_nids(connection, self._name, BLOCK)
        # Adjoining blocks become one, so that a node that writes alone keeps one range.
        if self.blocks and self.blocks[-1].stop == block.start:
            self.blocks[-1] = range(self.blocks[-1].start, block.stop)
        else:
            self.blocks.append(block)
        self._next, self._end = block.start, block.stop


class RowNumbers:
    """Numbers for events, rooms and state snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events = _Sequence(database, "event_nids")
        self._rooms = _Sequence(database, "room_nids")
        self._states = _Sequence(database, "state_nids")

    async def event(self) -> int:
        """Return a number for a new event."""
        return await self._events.take()

    async def outliers(self, count: int) -> list[int]:
        """Return numbers for events that any node may take into the timeline later.

        No node takes them for its own: each learns of the event from the log.
        """
        async with self._database.connection("row_numbers") as connection:
            return [*await rooms.reserve_nids(connection, "event_nids", count)]

    async def room(self) -> int:
        """Return a number for a new room."""
        return await self._rooms.take()

    async def state(self) -> int:
        """Return a number for a new state snapshot."""
        return await self._states.take()

    def is_own(self, event_nid: int) -> bool:
        """Whether this process gave the number to an event."""
        return any(event_nid in block for block in reversed(self._events.blocks))
