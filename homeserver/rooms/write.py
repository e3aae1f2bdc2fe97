"""Writing to a room: build on the head, queue, and build again when another node was first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.build import Built, EventBuilder
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads, RoomSlot
from homeserver.storage.event_writes import AlreadyStored
from homeserver.streams.event_appender import EventAppender
from homeserver.streams.log_writer import LogWriter, Lost

# Builds the events to write on a head; may be called again on another one. Nothing to write: [].
Build: TypeAlias = Callable[[RoomHead], Awaitable[Sequence[Built]]]
BuildJoined: TypeAlias = Callable[[RoomHead | None], Awaitable[Sequence[Built]]]

# Each loss means that somebody else's write went through; a room that is so busy on another
# node that one loses this often is better retried by the client.
MAX_ATTEMPTS: Final = 20


class RoomWriter:
    """Takes writes to rooms in the order in which they come, room by room."""

    def __init__(
        self, heads: Heads, builder: EventBuilder, cache: EventCache, log_writer: LogWriter
    ) -> None:
        self.builder = builder
        self._heads = heads
        self._cache = cache
        self._log_writer = log_writer
        self._appender = EventAppender()

    async def write(self, room_id: RoomID, build: Build) -> Sequence[Built]:
        """Have events built on the room's head and return them when they are committed.

        They are committed together or not at all. The next write to the room builds on them
        without waiting for the commit. Raises Forbidden: this server does not know the room, and
        must not tell that from one that the user is not in; and what `build` raises.
        """
        return await self._write(room_id, build, settled=False)

    async def write_settled(self, room_id: RoomID, build: Build) -> Sequence[Built]:
        """Do the same, but build only when all writes before are committed.

        For events that are not built on the head alone but on what is stored.
        """
        return await self._write(room_id, build, settled=True)

    async def _write(self, room_id: RoomID, build: Build, *, settled: bool) -> Sequence[Built]:
        for _ in range(MAX_ATTEMPTS):
            slot = self._heads.slot(room_id)
            async with slot.lock:
                if settled and slot.written is not None:
                    await asyncio.wait([slot.written])
                head = await self._heads.loaded(slot, room_id)
                if head is None:
                    raise Forbidden("You are not in this room")
                built = await build(head)
                if not built:
                    return built
                committed = self._queue(slot, built)
            try:
                await _ended(committed)
            except (Lost, AlreadyStored):
                continue
            return built
        raise MatrixError(503, "M_UNKNOWN", "The room is too busy, try again")

    async def write_joined(self, room_id: RoomID, build: BuildJoined) -> Sequence[Built]:
        """Do the same for a room that may not be known yet: then `build` is called with None."""
        for _ in range(MAX_ATTEMPTS):
            slot = self._heads.slot(room_id)
            async with slot.lock:
                if slot.written is not None:
                    await asyncio.wait([slot.written])
                built = await build(await self._heads.loaded(slot, room_id))
                if not built:
                    return built
                committed = self._queue(slot, built)
            try:
                await _ended(committed)
            except (Lost, AlreadyStored):
                continue
            return built
        raise MatrixError(503, "M_UNKNOWN", "The room is too busy, try again")

    async def write_new(self, built: Sequence[Built]) -> None:
        """Write the first events of a room that nobody else can know yet."""
        slot = self._heads.slot(built[0].event.room_id)
        await self._queue(slot, built)

    def _queue(self, slot: RoomSlot, built: Sequence[Built]) -> "asyncio.Future[None]":
        for each in built:
            if each.write.redaction is not None:
                self._cache.drop(each.write.redaction.target_nid)
        slot.head = built[-1].head
        unit = [each.write for each in built]
        slot.written = self._log_writer.append(self._appender, unit, on_lost=slot.forget)
        return slot.written


async def _ended(committed: "asyncio.Future[None]") -> None:
    """Wait for a commit, to its end even when the client leaves.

    A repetition of the request waits for this one. It must then find what came of it.
    """
    try:
        await asyncio.shield(committed)
    except asyncio.CancelledError:
        await asyncio.wait([committed])
        raise
