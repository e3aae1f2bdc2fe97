"""The rows that are written with an event, made of heads, events and what was found out."""

from typing import NamedTuple

import msgspec

from homeserver.protocol.client_event import split_event
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.counting import Counts
from homeserver.rooms.head import RoomHead
from homeserver.rooms.relating import Related
from homeserver.storage.event_writes import (
    EventRow,
    ReadWrite,
    RoomWrite,
    SnapshotWrite,
    ThreadWrite,
)
from homeserver.storage.state import SnapshotLink


class Placed(NamedTuple):
    """Where an event stands: its number, the snapshot before it and why it may be invisible.

    `replaces_nid` is the state event that it replaces in the state before it.
    """

    event_nid: int
    state_nid: int | None
    auth_nids: list[int]
    flags: int = 0
    replaces_nid: int | None = None
    device_id: str | None = None
    txn_id: str | None = None


def room_write(head: RoomHead, next_head: RoomHead) -> RoomWrite:
    """Return the row of the room after `next_head`, to be written where `head` still stands."""
    return RoomWrite(
        head.room_nid,
        head.version,
        next_head.version,
        next_head.depth,
        [nid for nid, _ in next_head.extremities],
        next_head.state_nid if next_head.chain else 0,
        next_head.notify_seq,
        next_head.highlight_seq,
    )


def event_row(
    head: RoomHead, event: Event, placed: Placed, counts: Counts, related: Related
) -> EventRow:
    """Return the row of an event."""
    core, rest = split_event(event, head.rules)
    return EventRow(
        placed.event_nid,
        event.event_id,
        head.room_nid,
        event.depth,
        event.type,
        event.sender,
        event.state_key,
        event.origin_server_ts,
        placed.flags,
        placed.state_nid,
        placed.replaces_nid,
        related.thread_nid,
        counts.notify_seq,
        counts.highlight_seq,
        placed.device_id,
        placed.txn_id,
        placed.auth_nids,
        core,
        rest,
    )


def snapshot_row(link: SnapshotLink, room_nid: int, parent_nid: int | None) -> SnapshotWrite:
    """Return the row of a new snapshot."""
    return SnapshotWrite(
        link.state_nid,
        room_nid,
        parent_nid,
        link.height,
        list(link.delta.keys()),
        list(link.delta.values()),
    )


def thread_row(
    head: RoomHead, event_nid: int, counts: Counts, related: Related
) -> ThreadWrite | None:
    """Return the row of the thread that an event belongs to."""
    if related.thread_nid is None:
        return None
    return ThreadWrite(
        0,
        head.room_nid,
        related.thread_nid,
        event_nid,
        related.is_thread_reply,
        counts.notify_seq,
        counts.highlight_seq,
    )


def read_row(
    head: RoomHead, event: Event, counts: Counts, related: Related, server_name: ServerName
) -> ReadWrite | None:
    """A local sender has read what stands before the own message, or before the own join."""
    if not event.sender.endswith(f":{server_name}"):
        return None
    if event.state_key is not None:
        is_joining = event.membership == "join" and event.state_key == event.sender
        if not is_joining or head.membership_of(event.sender) == "join":
            return None
        return ReadWrite(0, event.sender, head.room_nid, "", head.notify_seq, head.highlight_seq)
    return ReadWrite(
        0,
        event.sender,
        head.room_nid,
        related.thread_id,
        counts.notify_seq,
        counts.highlight_seq,
    )


def counted(head: RoomHead, counts: Counts, thread_nid: int | None) -> RoomHead:
    """Return the head with the running counts after an event."""
    if thread_nid is None:
        if counts.notify_seq == head.notify_seq and counts.highlight_seq == head.highlight_seq:
            return head
        return msgspec.structs.replace(
            head, notify_seq=counts.notify_seq, highlight_seq=counts.highlight_seq
        )
    threads = {**head.threads, thread_nid: (counts.notify_seq, counts.highlight_seq)}
    return msgspec.structs.replace(head, threads=threads)
