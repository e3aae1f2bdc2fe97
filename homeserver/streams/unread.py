"""Unread counts of the users of this node: a cache that follows the log.

Unread = the room's running counter now - what it was when the user last read + what counts
differently for this user since. Spec: client-server-api/#receiving-notifications
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.storage import unread
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
    """Counts what users have not read of the main timelines of rooms."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail
        self._users: OrderedDict[str, dict[int, ReadBaseline]] = OrderedDict()
        self._rooms: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._loading: dict[str, list[EventEntry]] = {}
        tail.follow(self._take, on_gap=self._clear)

    async def of_user(self, user_id: UserID, room_nids: Sequence[int]) -> dict[int, UnreadCount]:
        """Return the counts of some rooms of a user at the tail's position."""
        baselines = self._users.get(user_id)
        if baselines is None:
            baselines = await self._load(user_id)
        missing = [room_nid for room_nid in room_nids if room_nid not in self._rooms]
        if missing:
            async with self._database.connection("unread") as connection:
                counters = await unread.room_counters(connection, missing)
            for room_nid, counter in counters.items():
                # What the tail brought in the meantime is newer.
                self._rooms.setdefault(room_nid, counter)
            while len(self._rooms) > MAX_ROOMS:
                self._rooms.popitem(last=False)
        return {room_nid: self._count(baselines, room_nid) for room_nid in room_nids}

    def known(self, user_id: UserID, room_nid: int) -> UnreadCount | None:
        """Return a count without waiting when everything for it is in memory."""
        baselines = self._users.get(user_id)
        if baselines is None or room_nid not in self._rooms:
            return None
        return self._count(baselines, room_nid)

    def _count(self, baselines: dict[int, ReadBaseline], room_nid: int) -> UnreadCount:
        base = baselines.get(room_nid)
        counter = self._rooms.get(room_nid)
        if base is None or counter is None:
            return UnreadCount(0, 0)
        return UnreadCount(
            max(0, counter[0] - base.notify_seq + base.notify_extra),
            max(0, counter[1] - base.highlight_seq + base.highlight_extra),
        )

    async def _load(self, user_id: UserID) -> dict[int, ReadBaseline]:
        missed = self._loading.setdefault(user_id, [])
        try:
            async with self._database.connection("unread") as connection:
                baselines = await unread.baselines_of(connection, user_id)
        finally:
            self._loading.pop(user_id, None)
        for entry in missed:
            _apply(baselines, user_id, entry)
        self._users[user_id] = baselines
        while len(self._users) > MAX_USERS:
            self._users.popitem(last=False)
        return baselines

    def _clear(self) -> None:
        self._users.clear()
        self._rooms.clear()

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if not isinstance(entry, EventEntry):
                continue
            if entry.redaction is not None:
                # A redacted message counts no more: rare enough to count again from the tables.
                self._clear()
            record = entry.record
            if record.thread_nid is None and record.room_nid in self._rooms:
                self._rooms[record.room_nid] = (record.notify_seq, record.highlight_seq)
            users = {record.sender, *(count.user_id for count in entry.notifications)}
            for user_id in users:
                if (missed := self._loading.get(user_id)) is not None:
                    missed.append(entry)
                if (baselines := self._users.get(user_id)) is not None:
                    _apply(baselines, user_id, entry)


def _apply(baselines: dict[int, ReadBaseline], user_id: str, entry: EventEntry) -> None:
    record = entry.record
    if record.thread_nid is not None:
        return
    known = baselines.get(record.room_nid)
    if known is not None and known.read_pos >= entry.pos:
        return
    if record.sender == user_id:
        reads = record.state_key is None or _is_joining(entry)
        if reads:
            baselines[record.room_nid] = ReadBaseline(
                entry.pos, record.notify_seq, record.highlight_seq, 0, 0
            )
        return
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
