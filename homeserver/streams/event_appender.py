"""Events as a kind of the log: merges what waits for many rooms into one batch."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage import joined_rooms
from homeserver.storage.database import Connection
from homeserver.storage.event_writes import (
    OUTLIER,
    REJECTED,
    SOFT_FAILED,
    AppendResult,
    EventBatch,
    EventRow,
    MembershipWrite,
    NewRoomWrite,
    ReadWrite,
    RedactionWrite,
    RelationWrite,
    RoomWrite,
    SnapshotWrite,
    StateWrite,
    ThreadWrite,
    UserNotificationWrite,
    append_events,
)
from homeserver.storage.events import EventRecord
from homeserver.storage.joined_rooms import Arrival
from homeserver.streams.entries import EventEntry, LogEntry, Redacted, StateChange, UserCount
from homeserver.streams.log_writer import Outcome

_INVISIBLE = OUTLIER | REJECTED | SOFT_FAILED


class EventWrite(NamedTuple):
    """One event with everything that is written with it.

    `room` is the head after this event, to be written while the stored version is `expected`.
    `ord` of all rows counts from 1 within this write; a batch shifts it.
    """

    room_id: RoomID
    room: RoomWrite
    event: EventRow
    new_room: NewRoomWrite | None = None
    snapshots: Sequence[SnapshotWrite] = ()
    state_changes: Sequence[StateChange] = ()
    memberships: Sequence[MembershipWrite] = ()
    relation: RelationWrite | None = None
    thread: ThreadWrite | None = None
    read: ReadWrite | None = None
    notifications: Sequence[UserNotificationWrite] = ()
    redaction: RedactionWrite | None = None
    # For `unsigned` of the entry that the tail gets: the replaced state event.
    replaced_core: bytes | None = None
    replaced_id: str | None = None
    # The redaction that came before the event, with its core: `redaction` is its effect.
    redacted_by: tuple[str, bytes] | None = None
    # The room comes here by this event.
    arrival: Arrival | None = None


# Events of one room that are committed together or not at all.
EventUnit: TypeAlias = Sequence[EventWrite]


class EventAppender:
    """Writes batches of events and makes the tail's entries of them."""

    locks_rooms = True

    async def append(self, connection: Connection, writes: Sequence[EventUnit]) -> Outcome:
        """Write units of events in order; all of a room's events stand or fall together."""
        result = await _append(connection, writes)
        entries: list[LogEntry] = []
        lost = set()
        pos = result.base_pos
        for place, unit in enumerate(writes):
            for write in unit:
                if write.room.room_nid in result.lost:
                    lost.add(place)
                elif not write.event.flags & _INVISIBLE:
                    pos += 1
                    entries.append(_entry_of(write, pos))
        return Outcome(result.base_pos, pos, entries, frozenset(lost))


async def _append(connection: Connection, units: Sequence[EventUnit]) -> AppendResult:
    arrivals = [each.arrival for each in chain.from_iterable(units) if each.arrival is not None]
    if not arrivals:
        # One statement, and one round trip.
        return await append_events(connection, _batch_of(units))
    async with connection.transaction():
        result = await append_events(connection, _batch_of(units))
        for arrival in arrivals:
            # One at a time: rooms come seldom.
            if arrival.room_nid not in result.lost:
                await joined_rooms.note_arrival(connection, arrival)
    return result


def _batch_of(units: Sequence[EventUnit]) -> EventBatch:
    rooms: dict[int, RoomWrite] = {}
    batch = EventBatch([], [], [], [], [], [], [], [], [], [], [])
    for ord_, write in enumerate(chain.from_iterable(units), start=1):
        room = write.room
        first = rooms.get(room.room_nid)
        # The first write of a room says what is expected, the last one what comes of it.
        rooms[room.room_nid] = room._replace(expected=first.expected) if first else room
        _add_rows(batch, write, ord_)
    batch.rooms.extend(rooms[room_nid] for room_nid in sorted(rooms))
    return batch


def _add_rows(batch: EventBatch, write: EventWrite, ord_: int) -> None:
    """Append one write's rows; the sequences of a batch under construction are lists."""
    room_nid = write.room.room_nid
    batch.events.append(write.event)
    if write.read:
        batch.reads.append(write.read._replace(ord=ord_))
    if write.new_room:
        batch.new_rooms.append(write.new_room)
    if write.snapshots:
        batch.snapshots.extend(write.snapshots)
    for change in write.state_changes:
        batch.state.append(StateWrite(ord_, room_nid, change.key_nid, change.event_nid))
    for member in write.memberships:
        batch.members.append(member._replace(ord=ord_))
    if write.relation:
        batch.relations.append(write.relation)
    if write.thread:
        batch.threads.append(write.thread._replace(ord=ord_))
    for notification in write.notifications:
        batch.notifications.append(notification._replace(ord=ord_))
    if write.redaction:
        batch.redactions.append(write.redaction._replace(ord=ord_))


def _entry_of(write: EventWrite, pos: int) -> EventEntry:
    row = write.event
    record = EventRecord(
        row.event_nid,
        EventID(row.event_id),
        row.room_nid,
        pos,
        0,
        row.depth,
        row.type,
        row.sender,
        row.state_key,
        row.origin_server_ts,
        row.flags,
        row.state_nid,
        row.replaces_nid,
        row.thread_nid,
        row.device_id,
        row.txn_id,
        row.notify_seq,
        row.highlight_seq,
        row.core,
        write.replaced_core,
        write.replaced_id,
        *(write.redacted_by or (None, None)),
    )
    redaction = None
    if write.redaction is not None and write.redacted_by is None:
        redaction = Redacted(write.redaction.target_nid, write.redaction.core)
    return EventEntry(
        record,
        write.room_id,
        tuple(write.state_changes),
        redaction=redaction,
        notifications=tuple(
            UserCount(
                row.user_id,
                row.notify_delta,
                row.highlight_delta,
                is_notification=row.is_notification,
                is_highlight=row.is_highlight,
            )
            for row in write.notifications
        ),
    )
