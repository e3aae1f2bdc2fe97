"""What unread counts are made of: the running counts of a room, and how far a user has read it.

Both are brought over one entry of the log after the other. Nothing here waits: where memory does
not say enough, the answer is that it must be read again.
"""

from bisect import bisect_right
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import RoomID
from homeserver.storage.receipts import MAIN_TIMELINE, UNTHREADED
from homeserver.storage.unread import ReadPart
from homeserver.streams.entries import EventEntry, ReceiptEntry, UserCount

# How many changes of a thread's counts are remembered: who has read less far is counted from
# PostgreSQL.
MAX_STEPS: Final = 32


class UnreadCount(NamedTuple):
    """Unread notifications and, among them, highlights."""

    notifications: int
    highlights: int

    def __bool__(self) -> bool:
        return self.notifications > 0 or self.highlights > 0


class RunningCounts(NamedTuple):
    """What has notified, and highlighted, in a part of a room since its beginning."""

    notify: int
    highlight: int

    def less(self, part: ReadPart) -> UnreadCount:
        """Return what is unread for somebody who has read the part so far."""
        return UnreadCount(
            max(0, self.notify - part.notify_seq + part.notify_extra),
            max(0, self.highlight - part.highlight_seq + part.highlight_extra),
        )


_NOTHING: Final = RunningCounts(0, 0)


def _alone(part: ReadPart) -> UnreadCount:
    """Return what is unread for somebody who has muted the room: what is written down only."""
    return UnreadCount(part.notify_alone, part.highlight_alone)


class ThreadSteps:
    """The running counts of one thread as they lately grew."""

    __slots__ = ("_counts", "_positions")

    def __init__(self, pos: int, counts: RunningCounts) -> None:
        self._positions = [pos]
        self._counts = [counts]

    @property
    def latest(self) -> int:
        """The position at which they last grew."""
        return self._positions[-1]

    @property
    def now(self) -> RunningCounts:
        """The counts at present."""
        return self._counts[-1]

    def grow(self, pos: int, counts: RunningCounts) -> bool:
        """Take the counts after a newer event; whether they are other than before."""
        if counts == self._counts[-1]:
            return False
        self._positions.append(pos)
        self._counts.append(counts)
        if len(self._positions) > MAX_STEPS:
            del self._positions[0], self._counts[0]
        return True

    def at(self, pos: int) -> RunningCounts | None:
        """Return the counts after a position; None when it is too long ago."""
        place = bisect_right(self._positions, pos)
        return self._counts[place - 1] if place else None


class RoomCounts:
    """The running counts of all parts of a room, as they are for the default push rules."""

    __slots__ = ("main", "redacted_at", "room_id", "threads")

    def __init__(
        self,
        room_id: RoomID,
        main: RunningCounts,
        threads: dict[int, ThreadSteps],
        loaded_at: int,
    ) -> None:
        self.room_id = room_id
        self.main = main
        # Those that grew last stand last.
        self.threads = threads
        # When something that counted was last redacted; for all that is known at the load.
        self.redacted_at = loaded_at

    def at(self, thread_nid: int, pos: int) -> RunningCounts | None:
        """Return the counts of a thread after a position; None when it is too long ago."""
        thread = self.threads.get(thread_nid)
        return thread.at(pos) if thread is not None else _NOTHING

    def take(self, entry: EventEntry) -> None:
        """Bring the counts over an event of the room."""
        record = entry.record
        counts = RunningCounts(record.notify_seq, record.highlight_seq)
        if entry.redaction is not None:
            self.redacted_at = entry.pos
        if record.thread_nid is None:
            self.main = counts
            return
        thread = self.threads.get(record.thread_nid) or ThreadSteps(0, _NOTHING)
        if thread.grow(entry.pos, counts):
            self.threads.pop(record.thread_nid, None)
            self.threads[record.thread_nid] = thread


class Unread(NamedTuple):
    """A user's counts of a room: of the main timeline, and of those threads that have any."""

    main: UnreadCount
    threads: dict[int, UnreadCount]

    @property
    def total(self) -> UnreadCount:
        """The counts of the whole room."""
        if not self.threads:
            return self.main
        counts = (self.main, *self.threads.values())
        return UnreadCount(
            sum(count.notifications for count in counts), sum(count.highlights for count in counts)
        )


NOTHING_UNREAD: Final = Unread(UnreadCount(0, 0), {})


class RoomReads:
    """How far a user has read the parts of a room.

    Of threads that are not among `threads` nothing is unread up to `threads_from`. `checked_at`
    is the position up to which redactions are accounted for.
    """

    __slots__ = ("checked_at", "main", "threads", "threads_from")

    def __init__(self, main: ReadPart, threads: dict[int, ReadPart], position: int) -> None:
        self.main = main
        self.threads = threads
        self.threads_from = position
        self.checked_at = position

    def unread(self, room: RoomCounts, *, is_silent: bool = False) -> Unread | None:
        """Return the counts; None: they must be read again.

        `is_silent`: for a user who has muted the room. What has been redacted counts until it is
        read again, except where nothing is unread.
        """
        found = self._written_down() if is_silent else self._counted(room)
        if found is not None and self.checked_at < room.redacted_at:
            if found.main or found.threads:
                return None
            if not is_silent:
                self.checked_at = room.redacted_at
        return found

    def _written_down(self) -> Unread:
        threads = {
            thread_nid: count
            for thread_nid, part in self.threads.items()
            if (count := _alone(part))
        }
        return Unread(_alone(self.main), threads)

    def _counted(self, room: RoomCounts) -> Unread | None:
        threads: dict[int, UnreadCount] = {}
        for thread_nid, part in self.threads.items():
            # Of a thread that is not there nothing has ever notified by the default rules.
            steps = room.threads.get(thread_nid)
            if count := (steps.now if steps else _NOTHING).less(part):
                threads[thread_nid] = count
        for thread_nid, steps in reversed(room.threads.items()):
            if steps.latest <= self.threads_from:
                break
            if thread_nid in self.threads:
                continue
            before = steps.at(self.threads_from)
            if before is None:
                return None
            if count := steps.now.less(ReadPart(self.threads_from, *before)):
                threads[thread_nid] = count
        return Unread(room.main.less(self.main), threads)

    def take_own(self, entry: EventEntry) -> None:
        """Bring it over a message of the user, who thereby has read its part of the room."""
        record = entry.record
        part = ReadPart(entry.pos, record.notify_seq, record.highlight_seq)
        if record.thread_nid is None:
            self.main = part
        else:
            self.threads[record.thread_nid] = part

    def take_count(self, entry: EventEntry, count: UserCount, room: RoomCounts | None) -> bool:
        """Bring it over an event that counts differently for the user.

        False: memory does not say enough, and it must be read again.
        """
        thread_nid = entry.record.thread_nid
        if thread_nid is None:
            self.main = _with_extra(self.main, entry.pos, count)
            return True
        part = self.threads.get(thread_nid)
        if part is None:
            before = room.at(thread_nid, self.threads_from) if room is not None else None
            if before is None:
                return False
            part = ReadPart(self.threads_from, *before)
        self.threads[thread_nid] = _with_extra(part, entry.pos, count)
        return True

    def take_receipt(self, entry: ReceiptEntry) -> bool:
        """Bring it over a receipt of the user.

        False: memory does not say enough, and it must be read again.
        """
        if entry.read is None:
            return False
        read = ReadPart(entry.read.read_pos, entry.read.notify_seq, entry.read.highlight_seq)
        if entry.thread_id == UNTHREADED:
            return self._read_main(read) and self._read_threads(read.read_pos)
        if entry.thread_id == MAIN_TIMELINE:
            return self._read_main(read)
        return entry.read.thread_nid is not None and self._read_thread(entry.read.thread_nid, read)

    def _read_main(self, read: ReadPart) -> bool:
        if read.read_pos > self.main.read_pos:
            if self.main.extra_pos > read.read_pos:
                return False
            self.main = read
        return True

    def _read_thread(self, thread_nid: int, read: ReadPart) -> bool:
        part = self.threads.get(thread_nid)
        read_before = self.threads_from if part is None else part.read_pos
        if read.read_pos > read_before:
            if part is not None and part.extra_pos > read.read_pos:
                return False
            self.threads[thread_nid] = read
        return True

    def _read_threads(self, read_pos: int) -> bool:
        behind = [nid for nid, part in self.threads.items() if part.read_pos < read_pos]
        for thread_nid in behind:
            # What was read as a whole needs no part of its own, unless that was long ago.
            if read_pos < self.threads_from or self.threads[thread_nid].extra_pos > read_pos:
                return False
            del self.threads[thread_nid]
        self.threads_from = max(self.threads_from, read_pos)
        return True


def _with_extra(part: ReadPart, pos: int, count: UserCount) -> ReadPart:
    return part._replace(
        notify_extra=part.notify_extra + count.notify_delta,
        highlight_extra=part.highlight_extra + count.highlight_delta,
        notify_alone=part.notify_alone + count.is_notification,
        highlight_alone=part.highlight_alone + count.is_highlight,
        extra_pos=pos,
    )
