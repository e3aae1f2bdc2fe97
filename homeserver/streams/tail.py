"""The recent tail: the newest entries of the log in memory, and who follows them in order.

Every node keeps one. It advances over its own commits at once and over other nodes' commits by
reading them back, so that its entries are always the whole log between `floor` and `position`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.streams.entries import (
    ROOM_COMPLETED,
    EventEntry,
    LogEntry,
    Redacted,
    UserEntry,
)
from homeserver.streams.log_reader import LogReader
from homeserver.telemetry.tasks import Tasks

# Called for each stretch of new entries, in order, without waiting: caches and the notifier.
TailFollower: TypeAlias = Callable[[Sequence[LogEntry]], None]

# Some ten thousand entries of about 1 kB: clients that were away for minutes are still served
# from memory.
MAX_ENTRIES = 20_000
# A longer gap is not worth reading into memory: the tail starts anew behind it.
MAX_GAP = 5_000
# An event that is not among these is looked up in PostgreSQL.
MAX_SEARCHED = 100


class Tail:
    """The newest entries of the log, by position and by room."""

    def __init__(
        self,
        reader: LogReader,
        tasks: Tasks,
        *,
        max_entries: int = MAX_ENTRIES,
        max_gap: int = MAX_GAP,
    ) -> None:
        self._reader = reader
        self._tasks = tasks
        self._max_entries = max_entries
        self._max_gap = max_gap
        self._entries: deque[LogEntry] = deque()
        self._by_room: dict[int, deque[EventEntry]] = {}
        # The redactions among the entries, by the number of the event that they took effect on.
        self._redactions: dict[int, EventEntry] = {}
        self._caches: list[TailFollower] = []
        self._behind_caches: list[TailFollower] = []
        self._resets: list[Callable[[], None]] = []
        # How far the log is known to have come, and how far somebody on the bus says it has.
        self._known_head = 0
        self._hint = 0
        self._catching_up: asyncio.Task[None] | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        # All entries with floor < pos <= position are here.
        self.position = 0
        self.floor = 0

    def follow(self, follower: TailFollower, *, on_gap: Callable[[], None] | None = None) -> None:
        """Register a follower; `on_gap` is called when entries were skipped: forget everything.

        It asks no other follower about the entries: one may have taken them, the next one not.
        """
        self._caches.append(follower)
        if on_gap is not None:
            self._resets.append(on_gap)

    def follow_behind_caches(
        self, follower: TailFollower, *, on_gap: Callable[[], None] | None = None
    ) -> None:
        """Register who asks what follows the tail: all of it has taken the entries by then.

        That holds however late such a cache is registered.
        """
        self._behind_caches.append(follower)
        if on_gap is not None:
            self._resets.append(on_gap)

    async def start(self) -> None:
        """Begin at the present head of the log."""
        self.position = self.floor = self._known_head = await self._reader.head()

    def committed(self, base_pos: int, entries: Sequence[LogEntry], upto: int) -> None:
        """Take the entries of this node's own commit, which span (base_pos, upto]."""
        if base_pos == self.position and self._catching_up is None:
            self._advance(entries, upto)
        else:
            self.expect(upto)

    def expect(self, position: int) -> None:
        """Learn that the log has reached a position; what is missing is read back."""
        self._known_head = max(self._known_head, position)
        self._begin_to_catch_up()

    def heard(self, position: int) -> None:
        """Take the hint that the log may have reached a position: look, and read it back."""
        self._hint = max(self._hint, position)
        self._begin_to_catch_up()

    async def reach(self, position: int) -> None:
        """Wait until the tail has reached a position, which the log has."""
        if position > self.position:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((position, future))
            self.expect(position)
            await future

    async def catch_up(self) -> None:
        """Wait until the tail has reached every commit that this node knows of."""
        if self._known_head > self.position:
            await self.reach(self._known_head)

    async def poll(self) -> None:
        """Look whether another node's wake-up was lost."""
        self.expect(await self._reader.head())

    def room_entries(self, room_nid: int, after: int, upto: int) -> list[EventEntry]:
        """Return the room's entries at positions in (after, upto], oldest first.

        `after` is not below the floor. Costs what is returned, not what the tail holds.
        """
        found: list[EventEntry] = []
        for entry in reversed(self._by_room.get(room_nid, ())):
            if entry.pos <= after:
                break
            if entry.pos <= upto:
                found.append(entry)
        found.reverse()
        return found

    def find(self, room_nid: int, event_id: str) -> EventEntry | None:
        """Return the entry of an event, if it is among the newest of the room."""
        newest = islice(reversed(self._by_room.get(room_nid, ())), MAX_SEARCHED)
        return next((entry for entry in newest if entry.record.event_id == event_id), None)

    def last_position_of(self, room_nid: int) -> int:
        """Return the position of the room's newest entry, or 0 when it is below the floor."""
        entries = self._by_room.get(room_nid)
        return entries[-1].pos if entries else 0

    def entries_after(self, after: int) -> list[LogEntry]:
        """Return the entries after a position that is not below the floor, oldest first."""
        found: list[LogEntry] = []
        for entry in reversed(self._entries):
            if entry.pos <= after:
                break
            found.append(entry)
        found.reverse()
        return found

    async def between(self, after: int, upto: int) -> list[LogEntry]:
        """Return the entries in (after, upto], which the log has, from wherever they are."""
        if after >= self.floor and upto <= self.position:
            return [entry for entry in self.entries_after(after) if entry.pos <= upto]
        return await self._reader.read(after, upto)

    async def since(self, position: int) -> list[LogEntry] | None:
        """Wait until the tail has reached a position of the log, and return the entries after it.

        What was read from PostgreSQL as of that position and is brought up to date with these
        entries, without waiting in between, stands at the tail's position. None: entries were
        skipped, so read again.
        """
        await self.reach(position)
        return self.entries_after(position) if position >= self.floor else None

    def _begin_to_catch_up(self) -> None:
        if max(self._known_head, self._hint) > self.position and self._catching_up is None:
            self._catching_up = self._tasks.spawn("tail catch-up", self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while max(self._known_head, self._hint) > self.position:
                hint = self._hint
                head = await self._reader.head()
                self._known_head = max(self._known_head, head)
                if self._hint == hint:
                    # The log itself decides what anybody may say on the bus.
                    self._hint = head
                await self._read_up_to(head)
        finally:
            self._catching_up = None

    async def _read_up_to(self, head: int) -> None:
        if head - self.position > self._max_gap:
            self._restart(head)
        elif head > self.position:
            entries = await self._reader.read(self.position, head)
            completed = {
                each.room_nid
                for each in entries
                if isinstance(each, UserEntry) and each.kind == ROOM_COMPLETED
            }
            if completed:
                await self._drop_undone([nid for nid in completed if nid is not None])
            self._advance(entries, head)

    async def _drop_undone(self, room_nids: Sequence[int]) -> None:
        """Drop the events that were accepted on a partial state, and are not any more."""
        accepted = [
            each.record.event_nid
            for room_nid in room_nids
            for each in self._by_room.get(room_nid, ())
            if each.record.flags & PARTIAL_STATE
        ]
        undone = await self._reader.undone_of(accepted) if accepted else set()
        if not undone:
            return
        self._entries = deque(
            each
            for each in self._entries
            if not isinstance(each, EventEntry) or each.record.event_nid not in undone
        )
        for room_nid in room_nids:
            left = deque(
                each
                for each in self._by_room.pop(room_nid, ())
                if each.record.event_nid not in undone
            )
            if left:
                self._by_room[room_nid] = left

    def _restart(self, position: int) -> None:
        self._entries.clear()
        self._by_room.clear()
        self._redactions.clear()
        self.floor = position
        for reset in self._resets:
            reset()
        self._advance((), position)

    def _advance(self, entries: Sequence[LogEntry], upto: int) -> None:
        self.position = upto
        self._known_head = max(self._known_head, upto)
        for entry in entries:
            self._entries.append(entry)
            if isinstance(entry, EventEntry):
                self._append_to_room(entry)
        while len(self._entries) > self._max_entries:
            self._drop_oldest()
        for follow in self._caches:
            follow(entries)
        for follow in self._behind_caches:
            follow(entries)
        if self._waiters:
            self._release_waiters()

    def _append_to_room(self, entry: EventEntry) -> None:
        room = self._by_room.get(entry.room_nid)
        if room is None:
            room = self._by_room[entry.room_nid] = deque()
        room.append(entry)
        if entry.redaction is not None:
            self._redact(room, entry, entry.redaction)
        replaced = entry.record.replaces_nid
        by = self._redactions.get(replaced) if replaced is not None else None
        if by is not None and by.redaction is not None:
            # Built while the redaction of what it replaces was on its way to the log.
            entry.redact_replaced(by.redaction.core)

    def _redact(self, room: Iterable[EventEntry], by: EventEntry, redaction: Redacted) -> None:
        if self._redactions.setdefault(redaction.event_nid, by) is by:
            _apply_redaction(room, by, redaction)
        else:
            # Only the first redaction of an event takes effect.
            by.redaction = None

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        self.floor = oldest.pos
        if not isinstance(oldest, EventEntry):
            return
        if oldest.redaction is not None:
            self._redactions.pop(oldest.redaction.event_nid, None)
        room = self._by_room[oldest.room_nid]
        room.popleft()
        if not room:
            del self._by_room[oldest.room_nid]

    def _release_waiters(self) -> None:
        waiting = []
        for position, future in self._waiters:
            if position > self.position:
                waiting.append((position, future))
            elif not future.done():
                future.set_result(None)
        self._waiters = waiting


def _apply_redaction(room: Iterable[EventEntry], by: EventEntry, redaction: Redacted) -> None:
    """Do to the entries what PostgreSQL has done to an event, and to what others tell of it."""
    target = next((each for each in room if each.record.event_nid == redaction.event_nid), None)
    if target is not None:
        target.redact(redaction.core, by)
    for entry in room:
        if entry.record.replaces_nid == redaction.event_nid:
            entry.redact_replaced(redaction.core)
        elif target is not None and entry.record.redaction_id == target.record.event_id:
            entry.redact_redaction(redaction.core)
