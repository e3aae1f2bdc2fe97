"""A log in memory, with events that are replaced and redacted, as PostgreSQL would show it."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.event_writes import HAS_CHILDREN
from homeserver.storage.events import EventRecord
from homeserver.streams.entries import EventEntry, LogEntry, ReceiptEntry, Redacted, UserEntry


class Written(NamedTuple):
    """One position: an event of a room, or (room 0) a change of a user."""

    pos: int
    room_nid: int
    redacts: int | None = None
    replaces: int | None = None


class LogModel:
    """Everything that was committed. An event's number is its position."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        # How often a reader gives way to others; reads are as slow as a test wants.
        self.turns_to_read = 0

    def append(self, written: Written) -> None:
        assert written.pos == len(self.written) + 1
        self.written.append(written)

    async def head(self) -> int:
        head = len(self.written)
        await self._take_time()
        return head

    async def read(self, after: int, upto: int) -> list[LogEntry]:
        entries = [self.entry(each) for each in self.written if after < each.pos <= upto]
        await self._take_time()
        return entries

    def entry(self, written: Written) -> LogEntry:
        """Return an entry as it is read back now."""
        if written.room_nid == 0:
            return UserEntry(written.pos, "@u:test", "kind", None, None)
        by = self._redaction_of(written.pos)
        record = record_of(
            written,
            core=self._core(written.pos),
            replaced_core=self._core(written.replaces) if written.replaces else None,
        )
        if by is not None:
            record = record._replace(redaction_id=event_id(by), redaction_core=self._core(by))
        target = written.redacts
        took_effect = target is not None and self._redaction_of(target) == written.pos
        return EventEntry(
            record,
            RoomID(f"!{written.room_nid}"),
            (),
            redaction=Redacted(target, self._core(target)) if target and took_effect else None,
        )

    def own_entry(self, written: Written, known: int) -> LogEntry:
        """Return an entry as its writer makes it, who knows the log up to a position."""
        if written.room_nid == 0:
            return UserEntry(written.pos, "@u:test", "kind", None, None)
        replaced = written.replaces
        record = record_of(
            written,
            core=b"core%d" % written.pos,
            replaced_core=self._core(replaced, known) if replaced else None,
        )
        target = written.redacts
        redaction = Redacted(target, b"redacted%d" % target) if target else None
        return EventEntry(record, RoomID(f"!{written.room_nid}"), (), redaction=redaction)

    def _core(self, pos: int, known: int | None = None) -> bytes:
        by = self._redaction_of(pos)
        is_redacted = by is not None and (known is None or by <= known)
        return b"redacted%d" % pos if is_redacted else b"core%d" % pos

    def _redaction_of(self, pos: int) -> int | None:
        return next((each.pos for each in self.written if each.redacts == pos), None)

    async def _take_time(self) -> None:
        for _ in range(self.turns_to_read):
            await asyncio.sleep(0)


def event_id(pos: int) -> EventID:
    return EventID(f"${pos}")


def record_of(written: Written, *, core: bytes, replaced_core: bytes | None) -> EventRecord:
    replaced = written.replaces
    return EventRecord(
        event_nid=written.pos,
        event_id=event_id(written.pos),
        room_nid=written.room_nid,
        pos=written.pos,
        sub=0,
        depth=1,
        type="m.room.redaction" if written.redacts else "m.test",
        sender="@u:test",
        state_key=None if replaced is None else "",
        origin_server_ts=1,
        flags=0,
        state_nid=None,
        replaces_nid=replaced,
        thread_nid=None,
        device_id=None,
        txn_id=None,
        notify_seq=0,
        highlight_seq=0,
        core=core,
        replaced_core=replaced_core,
        replaced_id=event_id(replaced) if replaced is not None else None,
        redaction_id=None,
        redaction_core=None,
    )


def without_replaced(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Leave out receipts that later ones have replaced: the log holds them no more."""
    last = {
        (entry.room_nid, entry.user_id, entry.receipt_type, entry.thread_id): entry.pos
        for entry in entries
        if isinstance(entry, ReceiptEntry)
    }
    newest = set(last.values())
    return [
        entry for entry in entries if not isinstance(entry, ReceiptEntry) or entry.pos in newest
    ]


def told(entry: LogEntry) -> object:
    """Return what an entry says to everybody, to compare."""
    if isinstance(entry, UserEntry):
        return entry
    if isinstance(entry, ReceiptEntry):
        # What is read is not stored with the receipt.
        return entry._replace(read=None)
    return (
        # That an event has children is known from the children.
        entry.record._replace(flags=entry.record.flags & ~HAS_CHILDREN),
        entry.room_id,
        entry.state_changes,
        entry.redaction,
        sorted(entry.notifications),
    )
