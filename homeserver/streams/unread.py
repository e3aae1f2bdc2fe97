"""Unread counts of the users of this node: a cache that follows the log.

Unread = the room's running counter now - what it was when the user last read + what counts
differently for this user since. Spec: client-server-api/#receiving-notifications
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET

from homeserver.protocol.identifiers import EventID, UserID
from homeserver.storage import log, unread
from homeserver.storage.database import Database
from homeserver.storage.unread import MainCounts, PartRow, ReadPart, ThreadCounts
from homeserver.streams.entries import EventEntry, LogEntry, ReceiptEntry, UserCount
from homeserver.streams.personal_rules import PersonalRuleIndex, PersonalRules
from homeserver.streams.read_states import (
    NOTHING_UNREAD,
    RoomCounts,
    RoomReads,
    RunningCounts,
    ThreadSteps,
    Unread,
)
from homeserver.streams.tail import Tail

# About 400 bytes a room that the user has read something of.
MAX_USERS: Final = 10_000
# Rooms and their threads, counted together: some 400 bytes each.
MAX_PARTS: Final = 100_000
MAX_THREAD_IDS: Final = 20_000

# By room; None: it must be read again. Rooms of which nothing was ever read are absent.
_UserReads: TypeAlias = dict[int, RoomReads | None]


class UnreadCounts:
    """Counts what users have not read of rooms, at the tail's position."""

    def __init__(self, database: Database, tail: Tail, personal_rules: PersonalRuleIndex) -> None:
        self._database = database
        self._tail = tail
        self._personal_rules = personal_rules
        self._users: OrderedDict[str, _UserReads] = OrderedDict()
        self._rooms: OrderedDict[int, RoomCounts] = OrderedDict()
        self._parts = 0
        self._thread_ids: OrderedDict[int, EventID] = OrderedDict()
        tail.follow(self._take, on_gap=self._clear)

    async def of_user(self, user_id: UserID, room_nids: Sequence[int]) -> dict[int, Unread]:
        """Return the counts of some rooms of a user."""
        while True:
            await self._personal_rules.of_user(user_id)
            counts = {room_nid: self.known(user_id, room_nid) for room_nid in room_nids}
            unknown = [room_nid for room_nid, count in counts.items() if count is None]
            if not unknown:
                self._shrink()
                return {nid: count for nid, count in counts.items() if count is not None}
            await self._load(user_id, unknown)

    def known(self, user_id: UserID, room_nid: int) -> Unread | None:
        """Return a count without waiting when everything for it is in memory."""
        reads, room = self._users.get(user_id), self._rooms.get(room_nid)
        if reads is None or room is None:
            return None
        self._users.move_to_end(user_id)
        self._rooms.move_to_end(room_nid)
        if room_nid not in reads:
            return NOTHING_UNREAD
        known, personal = reads[room_nid], self._personal_rules.known(user_id)
        if known is None or personal is UNSET:
            return None
        return known.unread(room, is_silent=self._is_silent(personal, room))

    async def depending_on_rules(self, user_id: UserID, room_nids: Sequence[int]) -> list[int]:
        """Return those of the rooms whose counts are others if they are muted than if not."""
        await self.of_user(user_id, room_nids)
        return [room_nid for room_nid in room_nids if self._depends_on_rules(user_id, room_nid)]

    def _depends_on_rules(self, user_id: UserID, room_nid: int) -> bool:
        reads, room = self._users.get(user_id), self._rooms.get(room_nid)
        if reads is None or room is None:
            return True  # Out of memory already.
        if room_nid not in reads:
            return False
        known = reads[room_nid]
        return known is None or known.unread(room, is_silent=True) != known.unread(room)

    def _is_silent(self, personal: PersonalRules | None, room: RoomCounts) -> bool:
        if personal is None:
            return False
        in_room = self._personal_rules.in_room(personal, room.room_id)
        return in_room is not None and in_room.is_silent

    async def thread_ids(self, thread_nids: Collection[int]) -> dict[int, EventID]:
        """Return the IDs of threads, which are those of their roots."""
        missing = [nid for nid in thread_nids if nid not in self._thread_ids]
        found = {nid: self._thread_ids[nid] for nid in thread_nids if nid in self._thread_ids}
        if missing:
            async with self._database.connection("unread") as connection:
                loaded = await unread.thread_ids(connection, missing)
            self._thread_ids.update(loaded)
            found.update(loaded)
        while len(self._thread_ids) > MAX_THREAD_IDS:
            self._thread_ids.popitem(last=False)
        return found

    async def _load(self, user_id: UserID, room_nids: Sequence[int]) -> None:
        """Read what the counts of rooms need, and bring it to the tail's position.

        For a user who is not known yet, what has been read of all rooms.
        """
        new_rooms = [room_nid for room_nid in room_nids if room_nid not in self._rooms]
        is_known = user_id in self._users
        async with self._database.transaction(
            "unread", isolation="repeatable_read", readonly=True
        ) as tx:
            position = await log.head(tx)
            rows = await unread.parts_read(tx, user_id, room_nids if is_known else None)
            mains = await unread.room_counts(tx, new_rooms) if new_rooms else []
            threads = await unread.thread_counts(tx, new_rooms) if new_rooms else []
        entries = await self._tail.since(position)
        if entries is None or is_known != (user_id in self._users):
            return  # Much has happened in the meantime: it is read again.
        rooms = _room_counts(mains, threads, position)
        loaded = _user_reads(rows, position)
        for entry in entries:
            if isinstance(entry, EventEntry) and entry.room_nid in rooms:
                rooms[entry.room_nid].take(entry)
        for room_nid, room in rooms.items():
            self._forget_room(room_nid)
            self._rooms[room_nid] = room
            self._parts += 1 + len(room.threads)
        for entry in entries:
            if not is_known or (
                isinstance(entry, EventEntry | ReceiptEntry) and entry.room_nid in room_nids
            ):
                self._apply(loaded, user_id, entry)
        known = self._users.setdefault(user_id, {})
        for room_nid in room_nids:
            known.pop(room_nid, None)
        known.update(loaded)

    def _forget_room(self, room_nid: int) -> None:
        room = self._rooms.pop(room_nid, None)
        if room is not None:
            self._parts -= 1 + len(room.threads)

    def _shrink(self) -> None:
        while len(self._users) > MAX_USERS:
            self._users.popitem(last=False)
        while self._parts > MAX_PARTS:
            self._forget_room(next(iter(self._rooms)))

    def _clear(self) -> None:
        self._users.clear()
        self._rooms.clear()
        self._parts = 0

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if not isinstance(entry, EventEntry | ReceiptEntry):
                continue
            if isinstance(entry, EventEntry) and (room := self._rooms.get(entry.room_nid)):
                threads = len(room.threads)
                room.take(entry)
                self._parts += len(room.threads) - threads
            for user_id in _readers(entry):
                if (reads := self._users.get(user_id)) is not None:
                    self._apply(reads, user_id, entry)

    def _apply(self, reads: _UserReads, user_id: str, entry: LogEntry) -> None:
        """Bring a user's reads over one entry, which they must not contain yet."""
        if isinstance(entry, ReceiptEntry):
            if entry.user_id == user_id:
                _apply_receipt(reads, entry)
        elif isinstance(entry, EventEntry):
            if entry.record.sender == user_id and _is_read(entry):
                _apply_own(reads, entry)
            else:
                for count in entry.notifications:
                    if count.user_id == user_id:
                        _apply_count(reads, entry, count, self._rooms.get(entry.room_nid))


def _room_counts(
    mains: Iterable[MainCounts], threads: Iterable[ThreadCounts], position: int
) -> dict[int, RoomCounts]:
    rooms = {
        row.room_nid: RoomCounts(
            row.room_id, RunningCounts(row.notify_seq, row.highlight_seq), {}, position
        )
        for row in mains
    }
    for row in threads:
        counts = RunningCounts(row.notify_seq, row.highlight_seq)
        rooms[row.room_nid].threads[row.thread_nid] = ThreadSteps(row.newest_pos, counts)
    return rooms


def _user_reads(rows: Iterable[PartRow], position: int) -> _UserReads:
    mains = {row.room_nid: row.part for row in rows if row.thread_nid is None}
    threads: dict[int, dict[int, ReadPart]] = {room_nid: {} for room_nid in mains}
    for row in rows:
        if row.thread_nid is not None:
            threads[row.room_nid][row.thread_nid] = row.part
    return {nid: RoomReads(part, threads[nid], position) for nid, part in mains.items()}


def _readers(entry: EventEntry | ReceiptEntry) -> Iterable[str]:
    """Return the users for whom an entry may count differently than for all others."""
    if isinstance(entry, ReceiptEntry):
        return (entry.user_id,)
    return {entry.record.sender, *(each.user_id for each in entry.notifications)}


def _apply_own(reads: _UserReads, entry: EventEntry) -> None:
    known = reads.get(entry.room_nid)
    if entry.record.state_key is not None:
        # Whoever joins has read what stands before.
        record = entry.record
        part = ReadPart(entry.pos, record.notify_seq, record.highlight_seq)
        reads[entry.room_nid] = RoomReads(part, {}, entry.pos)
    elif known is None:
        reads[entry.room_nid] = None
    else:
        known.take_own(entry)


def _apply_count(
    reads: _UserReads, entry: EventEntry, count: UserCount, room: RoomCounts | None
) -> None:
    known = reads.get(entry.room_nid)
    if known is not None and not known.take_count(entry, count, room):
        reads[entry.room_nid] = None


def _apply_receipt(reads: _UserReads, entry: ReceiptEntry) -> None:
    known = reads.get(entry.room_nid)
    if known is None or not known.take_receipt(entry):
        reads[entry.room_nid] = None


def _is_read(entry: EventEntry) -> bool:
    """Whether the sender has read the room by sending: a message, or the own join.

    A change of the own profile is no join.
    """
    record = entry.record
    if record.state_key is None:
        return True
    if record.type != "m.room.member" or record.state_key != record.sender:
        return False
    joins = any(change.membership == "join" for change in entry.state_changes)
    before = record.replaced_core
    return joins and (before is None or _decode(before).content.membership != "join")


class _MemberContent(msgspec.Struct):
    membership: object = None


class _MemberCore(msgspec.Struct):
    content: _MemberContent


_decode: Final = msgspec.json.Decoder(_MemberCore).decode
