"""The rows of one batch of events, and the statement that writes them.

Each tuple has the fields of the composite type of the same name in migrations/0002, in order.
"""

from typing import NamedTuple

import asyncpg

from homeserver.storage.database import Connection

OUTLIER = 1
REJECTED = 2
SOFT_FAILED = 4
PARTIAL_STATE = 8
# Set by PostgreSQL (migrations/0009), never by who writes an event.
HAS_CHILDREN = 16
# An event of another server's user that this server has to send to the others in the room: it came
# by a handshake (send_join and the like), not by a transaction.
PASSED_ON = 32
# The key of an edit that has nothing to put in the place of what it edits.
VOID_EDIT = ""


class NewRoomWrite(NamedTuple):
    """A room that the batch begins."""

    room_nid: int
    room_id: str
    room_version: str


class RoomWrite(NamedTuple):
    """The head of a room after the batch, written only while `version` is still `expected`."""

    room_nid: int
    expected: int
    version: int
    depth: int
    extremities: list[int]
    state_nid: int
    notify_seq: int
    highlight_seq: int


class EventRow(NamedTuple):
    """One event; see migrations/0001 for the meaning of its columns."""

    event_nid: int
    event_id: str
    room_nid: int
    depth: int
    type: str
    sender: str
    state_key: str | None
    origin_server_ts: int
    flags: int
    state_nid: int | None
    replaces_nid: int | None
    thread_nid: int | None
    notify_seq: int
    highlight_seq: int
    device_id: str | None
    txn_id: str | None
    auth_nids: list[int]
    core: bytes
    rest: bytes


class SnapshotWrite(NamedTuple):
    """A state snapshot as its parent and a delta; event 0 removes a key."""

    state_nid: int
    room_nid: int
    parent_nid: int | None
    height: int
    key_nids: list[int]
    event_nids: list[int]


class StateWrite(NamedTuple):
    """A change of the current state at the position of the batch's event number `ord`."""

    ord: int
    room_nid: int
    key_nid: int
    event_nid: int | None


class MembershipWrite(NamedTuple):
    """A user's new membership of a room."""

    ord: int
    user_id: str
    room_nid: int
    membership: str
    event_nid: int
    sender: str


class RelationWrite(NamedTuple):
    """An event's relation to another; `key` is that of an annotation, or `VOID_EDIT`."""

    event_nid: int
    room_nid: int
    parent_id: str
    rel_type: str
    key: str | None
    sender: str
    type: str


class ThreadWrite(NamedTuple):
    """A thread's newest event and its running counts.

    `is_reply`: it is a message of the thread, not an edit of one or a reaction to one.
    """

    ord: int
    room_nid: int
    thread_nid: int
    event_nid: int
    is_reply: bool
    notify_seq: int
    highlight_seq: int


class ReadWrite(NamedTuple):
    """A sender has read its part of the timeline up to its own event."""

    ord: int
    user_id: str
    room_nid: int
    thread_id: str
    notify_seq: int
    highlight_seq: int


class UserNotificationWrite(NamedTuple):
    """One user's outcome of the push rules where it differs from the default class."""

    ord: int
    user_id: str
    room_nid: int
    event_nid: int
    thread_nid: int | None
    notify_delta: int
    highlight_delta: int
    is_notification: bool
    is_highlight: bool
    actions: bytes


class RedactionWrite(NamedTuple):
    """The redacted form of an event, which replaces the stored one."""

    ord: int
    room_nid: int
    target_nid: int
    by_nid: int
    core: bytes
    rest: bytes


class EventBatch(NamedTuple):
    """Everything that one call of `append_events` writes. Rooms stand in the order of room_nid."""

    new_rooms: list[NewRoomWrite]
    rooms: list[RoomWrite]
    events: list[EventRow]
    snapshots: list[SnapshotWrite]
    state: list[StateWrite]
    members: list[MembershipWrite]
    relations: list[RelationWrite]
    threads: list[ThreadWrite]
    reads: list[ReadWrite]
    notifications: list[UserNotificationWrite]
    redactions: list[RedactionWrite]


class AppendResult(NamedTuple):
    """The log position before the first event, and the rooms of which nothing was written."""

    base_pos: int
    lost: frozenset[int]


_APPEND = """
    SELECT base_pos, lost FROM append_events(
        $1::new_room_write[], $2::room_write[], $3::event_write[], $4::snapshot_write[],
        $5::state_write[], $6::membership_write[], $7::relation_write[], $8::thread_write[],
        $9::read_write[], $10::user_notification_write[], $11::redaction_write[]
    )
"""


class AlreadyStored(Exception):
    """An event of a batch has meanwhile been stored under another number, as an outlier."""


async def append_events(connection: Connection, batch: EventBatch) -> AppendResult:
    """Write a batch in one statement, which is one transaction unless one is open already.

    Raises AlreadyStored: nothing is written.
    """
    try:
        row = await connection.fetchrow(_APPEND, *batch)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "events_event_id_key":
            raise
        raise AlreadyStored from error
    assert row is not None
    return AppendResult(row["base_pos"], frozenset(row["lost"]))
