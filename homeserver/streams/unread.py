"""Unread counts of the users of this node: a cache that follows the log.

Unread = the room's running counter now - what it was when the user last read + what counts
differently for this user since. Spec: client-server-api/#receiving-notifications
"""

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import NamedTuple

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.storage import log, unread
from homeserver.storage.database import Database
from homeserver.storage.unread import ReadBaseline
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.tail import Tail

MAX_USERS = 10_000
# Rooms whose counters are kept: two integers each.
MAX_ROOMS = 100_000


class UnreadCount(NamedTuple):
    """Unread notifications and, among them, highlights."""

    notifications: int
    highlights: int


class UnreadCounts:
    """Counts what users have not read of the main timelines of rooms, at the tail's position."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail
        self._users: OrderedDict[str, dict[int, ReadBaseline]] = OrderedDict()
        # The running (notify, highlight) counters.
        self._rooms: OrderedDict[int, tuple[int, int]] = OrderedDict()
        tail.follow(self._take, on_gap=self._clear)

    async def of_user(self, user_id: UserID, room_nids: Sequence[int]) -> dict[int, UnreadCount]:
        """Return the counts of some rooms of a user."""
        baselines = self._users.get(user_id)
        while baselines is None or not all(nid in self._rooms for nid in room_nids):
            await self._load(user_id, room_nids)
            baselines = self._users.get(user_id)
        counts = {room_nid: self._count(baselines, room_nid) for room_nid in room_nids}
        self._users.move_to_end(user_id)
        self._shrink()
        return counts

    def known(self, user_id: UserID, room_nid: int) -> UnreadCount | None:
        """Return a count without waiting when everything for it is in memory."""
        baselines = self._users.get(user_id)
        if baselines is None or room_nid not in self._rooms:
            return None
        return self._count(baselines, room_nid)

    def _count(self, baselines: dict[int, ReadBaseline], room_nid: int) -> UnreadCount:
        base = baselines.get(room_nid)
        if base is None:
            return UnreadCount(0, 0)
        notify_seq, highlight_seq = self._rooms[room_nid]
        return UnreadCount(
            max(0, notify_seq - base.notify_seq + base.notify_extra),
            max(0, highlight_seq - base.highlight_seq + base.highlight_extra),
        )

    async def _load(self, user_id: UserID, room_nids: Sequence[int]) -> None:
        missing = [room_nid for room_nid in room_nids if room_nid not in self._rooms]
        baselines: dict[int, ReadBaseline] | None = None
        async with self._database.transaction(
            "unread", isolation="repeatable_read", readonly=True
        ) as tx:
            position = await log.head(tx)
            if user_id not in self._users:
                baselines = await unread.baselines_of(tx, user_id)
            counters = await unread.room_counters(tx, missing) if missing else {}
        entries = await self._tail.since(position)
        if entries is None or any(map(_is_redaction, entries)):
            return  # What was read does not count any more.
        for room_nid in missing:
            self._rooms[room_nid] = counters.get(room_nid, (0, 0))
        if baselines is not None:
            self._users[user_id] = baselines
        for entry in entries:
            if isinstance(entry, EventEntry):
                self._advance_room(entry, missing)
                if baselines is not None:
                    _apply(baselines, user_id, entry)

    def _shrink(self) -> None:
        while len(self._users) > MAX_USERS:
            self._users.popitem(last=False)
        while len(self._rooms) > MAX_ROOMS:
            self._rooms.popitem(last=False)

    def _clear(self) -> None:
        self._users.clear()
        self._rooms.clear()

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if not isinstance(entry, EventEntry):
                continue
            if _is_redaction(entry):
                # A redacted message counts no more: rare enough to count again from the tables.
                self._clear()
            self._advance_room(entry, self._rooms)
            for user_id in {entry.record.sender, *(each.user_id for each in entry.notifications)}:
                if (baselines := self._users.get(user_id)) is not None:
                    _apply(baselines, user_id, entry)

    def _advance_room(self, entry: EventEntry, rooms: Container[int]) -> None:
        record = entry.record
        if record.thread_nid is None and record.room_nid in rooms:
            self._rooms[record.room_nid] = (record.notify_seq, record.highlight_seq)


def _is_redaction(entry: LogEntry) -> bool:
    return isinstance(entry, EventEntry) and entry.redaction is not None


def _apply(baselines: dict[int, ReadBaseline], user_id: str, entry: EventEntry) -> None:
    """Bring baselines over one entry, which they must not contain yet."""
    record = entry.record
    if record.thread_nid is not None:
        return
    if record.sender == user_id:
        if record.state_key is None or _is_joining(entry):
            baselines[record.room_nid] = ReadBaseline(
                entry.pos, record.notify_seq, record.highlight_seq, 0, 0
            )
        return
    known = baselines.get(record.room_nid)
    for count in entry.notifications:
        if count.user_id == user_id and known is not None:
            baselines[record.room_nid] = known._replace(
                notify_extra=known.notify_extra + count.notify_delta,
                highlight_extra=known.highlight_extra + count.is_highlight,
            )


def _is_joining(entry: EventEntry) -> bool:
    """Whether the sender comes into the room, and has not just changed the own profile."""
    record = entry.record
    if record.type != "m.room.member" or record.state_key != record.sender:
        return False
    joins = any(change.membership == "join" for change in entry.state_changes)
    before = record.replaced_core
    return joins and (before is None or _decode(before).content.membership != "join")


class _MemberContent(msgspec.Struct):
    membership: object = None


class _MemberCore(msgspec.Struct):
    content: _MemberContent


_decode = msgspec.json.Decoder(_MemberCore).decode
