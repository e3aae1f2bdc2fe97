"""Receipts as a kind of the log: what waits is written in one statement."""

from collections.abc import Sequence

from homeserver.storage.database import Connection
from homeserver.storage.receipts import ReceiptWrite, Written, append_receipts
from homeserver.streams.entries import ReadPoint, ReceiptEntry
from homeserver.streams.log_writer import Outcome


class ReceiptAppender:
    """Writes batches of receipts; those that do not go forward change nothing."""

    locks_rooms = False

    async def append(self, connection: Connection, writes: Sequence[ReceiptWrite]) -> Outcome:
        """Write those receipts that go forward in the timeline."""
        appended = await append_receipts(connection, writes)
        entries = [_entry_of(writes[written.place], written) for written in appended.written]
        return Outcome(appended.base_pos, appended.upto, entries, frozenset())


def _entry_of(write: ReceiptWrite, written: Written) -> ReceiptEntry:
    read = None
    if write.counts and write.event_pos is not None:
        read_pos = write.event_pos if write.event_sub >= 0 else write.event_pos - 1
        read = ReadPoint(read_pos, write.thread_nid, written.notify_seq, written.highlight_seq)
    return ReceiptEntry(
        written.pos,
        write.room_nid,
        write.user_id,
        write.receipt_type,
        write.thread_id,
        write.event_id,
        write.ts,
        read,
    )
