"""What memory knows of unread counts, and where it says that it does not know enough.

That the counts are right is for the law of unread counts to show; here are its rarer turns.
"""

from typing import Any

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.events import EventRecord
from homeserver.storage.unread import ReadPart
from homeserver.streams.entries import (
    EventEntry,
    ReadPoint,
    ReceiptEntry,
    Redacted,
    UserCount,
)
from homeserver.streams.read_states import (
    MAX_STEPS,
    RoomCounts,
    RoomReads,
    RunningCounts,
    ThreadSteps,
    Unread,
    UnreadCount,
)

ROOM_NID, ROOM_ID, THREAD = 1, RoomID("!room:hs"), 77
LOADED_AT = 100
ALICE = "@alice:hs"


def event(pos: int, notify_seq: int, *, thread_nid: int | None = None, **fields: Any) -> EventEntry:
    """Return an event of a room in which all that notifies has been counted up to `notify_seq`."""
    blank: dict[str, Any] = dict.fromkeys(EventRecord._fields)
    record = blank | {
        "event_nid": pos,
        "event_id": EventID(f"${pos}"),
        "room_nid": ROOM_NID,
        "pos": pos,
        "sub": 0,
        "type": "m.room.message",
        "sender": "@bob:hs",
        "thread_nid": thread_nid,
        "notify_seq": notify_seq,
        "highlight_seq": 0,
        "core": b"{}",
    }
    return EventEntry(EventRecord(**record), ROOM_ID, (), **fields)


def receipt(
    read_pos: int, notify_seq: int, *, thread_id: str = "", thread_nid: int | None = None
) -> ReceiptEntry:
    read = ReadPoint(read_pos, thread_nid, notify_seq, 0)
    return ReceiptEntry(200, ROOM_NID, ALICE, "m.read", thread_id, "$x", 0, read)


def keyword() -> UserCount:
    """Something that notifies Alice and nobody else."""
    return UserCount(ALICE, 1, 0, is_notification=True, is_highlight=False)


def counts_of(main: int = 0, **threads: int) -> Unread:
    """Return counts without highlights; threads by their number after an underscore."""
    return Unread(
        UnreadCount(main, 0),
        {int(name[1:]): UnreadCount(count, 0) for name, count in threads.items()},
    )


def new_room(notify: int = 0) -> RoomCounts:
    return RoomCounts(ROOM_ID, RunningCounts(notify, 0), {}, LOADED_AT)


def new_reads(read_pos: int = LOADED_AT, notify_seq: int = 0) -> RoomReads:
    return RoomReads(ReadPart(read_pos, notify_seq, 0), {}, LOADED_AT)


def test_a_receipt_before_something_of_the_users_own_must_be_read_again() -> None:
    room, reads = new_room(), new_reads()
    for pos in (101, 102):
        room.take(event(pos, 0))
        assert reads.take_count(event(pos, 0), keyword(), room)
    assert reads.unread(room) == counts_of(2)
    assert not reads.take_receipt(receipt(101, 0))
    assert reads.take_receipt(receipt(102, 0))
    assert reads.unread(room) == counts_of(0)


def test_the_same_goes_for_threads() -> None:
    room, reads = new_room(), new_reads()
    for pos in (101, 102):
        entry = event(pos, 0, thread_nid=THREAD)
        room.take(entry)
        assert reads.take_count(entry, keyword(), room)
    assert reads.unread(room) == counts_of(0, _77=2)
    assert not reads.take_receipt(receipt(101, 0, thread_id="$t", thread_nid=THREAD))
    assert not reads.take_receipt(receipt(101, 0))
    assert reads.take_receipt(receipt(102, 0, thread_id="$t", thread_nid=THREAD))
    assert reads.unread(room) == counts_of(0)


def test_a_receipt_that_another_node_has_written_must_be_read() -> None:
    reads = new_reads()
    assert not reads.take_receipt(receipt(101, 0)._replace(read=None))


def test_an_old_receipt_for_everything_leaves_open_how_far_a_thread_is_read() -> None:
    part = ReadPart(10, 1, 0)
    reads = RoomReads(ReadPart(10, 0, 0), {THREAD: part}, LOADED_AT)
    assert not reads.take_receipt(receipt(50, 0))
    assert reads.take_receipt(receipt(LOADED_AT, 0))
    assert THREAD not in reads.threads


def test_receipts_that_are_behind_change_nothing() -> None:
    room, reads = new_room(), new_reads()
    reads.take_own(event(103, 3))
    reads.take_own(event(104, 2, thread_nid=THREAD))
    room.take(event(103, 3))
    room.take(event(104, 2, thread_nid=THREAD))
    for behind in (
        receipt(102, 2),
        receipt(102, 2, thread_id="main"),
        receipt(103, 1, thread_id="$t", thread_nid=THREAD),
    ):
        assert reads.take_receipt(behind)
    assert reads.unread(room) == counts_of(0)


def test_a_thread_that_begins_is_unread_from_its_beginning() -> None:
    room, reads = new_room(), new_reads()
    for number in (1, 2, 3):
        room.take(event(100 + number, number, thread_nid=THREAD))
    assert reads.unread(room) == counts_of(0, _77=3)
    assert reads.take_receipt(receipt(102, 2, thread_id="$t", thread_nid=THREAD))
    assert reads.unread(room) == counts_of(0, _77=1)


def test_a_thread_that_has_grown_much_must_be_read_again() -> None:
    room, reads = new_room(), new_reads()
    for number in range(1, MAX_STEPS):
        room.take(event(100 + number, number, thread_nid=THREAD))
    assert reads.unread(room) == counts_of(0, _77=MAX_STEPS - 1)
    room.take(event(200, 200, thread_nid=THREAD))
    assert reads.unread(room) is None
    assert not reads.take_count(event(201, 200, thread_nid=THREAD), keyword(), room)
    assert not reads.take_count(event(201, 200, thread_nid=THREAD), keyword(), None)


def test_what_was_redacted_must_be_read_again_where_something_is_unread() -> None:
    room, some, none = new_room(notify=1), new_reads(notify_seq=0), new_reads(notify_seq=1)
    room.take(event(101, 1, redaction=Redacted(1, b"{}")))
    assert some.unread(room) is None
    assert none.unread(room) == counts_of(0)
    room.take(event(102, 2))
    assert none.unread(room) == counts_of(1)


def test_steps_know_the_counts_at_any_later_position() -> None:
    steps = ThreadSteps(10, RunningCounts(1, 0))
    assert steps.grow(20, RunningCounts(2, 0))
    assert not steps.grow(30, RunningCounts(2, 0))
    assert [steps.at(pos) for pos in (9, 10, 19, 20, 99)] == [
        None,
        RunningCounts(1, 0),
        RunningCounts(1, 0),
        RunningCounts(2, 0),
        RunningCounts(2, 0),
    ]
    assert (steps.latest, steps.now) == (20, RunningCounts(2, 0))
