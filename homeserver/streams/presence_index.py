"""Who is online, in memory: everybody who is, and the newest changes of all others.

A cache that follows the log, so that telling waiting clients of a change costs no statement.
"""

from collections import deque
from collections.abc import Container, Sequence
from typing import Final

from homeserver.storage import log, presence
from homeserver.storage.database import Database
from homeserver.storage.presence import PresenceState
from homeserver.streams.entries import EventEntry, LogEntry, PresenceEntry, ReceiptEntry
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock

# Each costs a µs for every request that has not seen it. A server of ten thousand users makes
# some thousand an hour.
MAX_CHANGES: Final = 2_000


class PresenceIndex:
    """The presence of users as of the tail's position."""

    def __init__(
        self, database: Database, tail: Tail, clock: Clock, *, max_changes: int = MAX_CHANGES
    ) -> None:
        self._database = database
        self._tail = tail
        self._clock = clock
        self._max_changes = max_changes
        # Of those who are not offline; None: not read yet.
        self._present: dict[str, PresenceState] | None = None
        # When they were last seen to do something, in ms; the states are not written each time.
        self._active_ts: dict[str, int] = {}
        self._changes: deque[PresenceEntry] = deque()
        # All changes after this position are here.
        self._floor = tail.position
        tail.follow(self._take, on_gap=self._forget)

    async def present(self) -> dict[str, PresenceState]:
        """Return who is not offline, by user ID; do not change it, nor keep it while waiting."""
        if self._present is None:
            await self._load()
        assert self._present is not None
        return self._present

    def last_active_ts(self, state: PresenceState) -> int:
        """Return when a user was last active, in ms, which may be later than was written."""
        return max(state.last_active_ts, self._active_ts.get(state.user_id, 0))

    def knows_changes_after(self, position: int) -> bool:
        """Whether `changes_after` can answer."""
        return position >= self._floor

    def changes_after(
        self, position: int, user_id: str, room_nids: Container[int]
    ) -> dict[str, PresenceState]:
        """Return what a user and those in some rooms have changed after a position, by user ID."""
        newest: dict[str, PresenceState] = {}
        found: dict[str, PresenceState] = {}
        for entry in reversed(self._changes):
            if entry.pos <= position:
                break
            newest.setdefault(entry.user_id, entry.state)
            if entry.user_id not in found and (
                entry.user_id == user_id or any(nid in room_nids for nid in entry.room_nids)
            ):
                found[entry.user_id] = newest[entry.user_id]
        return found

    async def _load(self) -> None:
        entries = None
        while entries is None:
            async with self._database.transaction(
                "presence_index", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                states = await presence.all_present(tx)
            entries = await self._tail.since(position)
        present = {str(state.user_id): state for state in states}
        for entry in entries:
            if isinstance(entry, PresenceEntry):
                _apply(present, entry.state)
        self._present = present

    def _take(self, entries: Sequence[LogEntry]) -> None:
        present = self._present
        for entry in entries:
            if isinstance(entry, PresenceEntry):
                self._changes.append(entry)
                if present is not None:
                    _apply(present, entry.state)
                if entry.state.presence == "offline":
                    self._active_ts.pop(entry.user_id, None)
            elif present and (user_id := active_user_of(entry)) in present:
                self._active_ts[str(user_id)] = self._clock.now_ms()
        while len(self._changes) > self._max_changes:
            self._floor = self._changes.popleft().pos

    def _forget(self) -> None:
        self._present = None
        self._active_ts.clear()
        self._changes.clear()
        self._floor = self._tail.floor


def active_user_of(entry: LogEntry) -> str | None:
    """Return who has done something, as an entry shows: sent a message, or read one for all to see.

    Members change without anybody's doing, as when a profile does.
    """
    if isinstance(entry, EventEntry):
        return None if entry.record.type == "m.room.member" else entry.record.sender
    if isinstance(entry, ReceiptEntry) and entry.receipt_type == "m.read":
        return entry.user_id
    return None


def _apply(present: dict[str, PresenceState], state: PresenceState) -> None:
    if state.presence == "offline":
        present.pop(state.user_id, None)
    else:
        present[state.user_id] = state
