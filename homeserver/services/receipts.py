"""Receipts: how far users have read. Spec: client-server-api/#receipts"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol import edu
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.rooms.access import Access
from homeserver.rooms.timeline import Timeline
from homeserver.storage import events, memberships, receipts
from homeserver.storage.database import Connection, Database
from homeserver.storage.events import EventRecord
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.receipts import MAIN_TIMELINE, PUBLIC, UNTHREADED, ReceiptWrite
from homeserver.streams.log_writer import LogWriter
from homeserver.streams.receipt_appender import ReceiptAppender
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock

# What one EDU may bring; who has read more than this at once may say so again.
MAX_RECEIVED: Final = 1_000


class NewReceipt(NamedTuple):
    """A receipt that a user sends; `thread_id` None: for the whole room."""

    receipt_type: str
    event_id: EventID
    thread_id: str | None = None


class Receipts:
    """Records receipts, which are told to others and settle what is unread."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        access: Access,
        timeline: Timeline,
        log_writer: LogWriter,
        clock: Clock,
    ) -> None:
        self._database = database
        self._tail = tail
        self._access = access
        self._timeline = timeline
        self._log_writer = log_writer
        self._clock = clock
        self._appender = ReceiptAppender()

    async def record(self, user_id: UserID, room_id: RoomID, sent: Sequence[NewReceipt]) -> None:
        """Record receipts of a member; one that would go back in the timeline changes nothing.

        All or none. Raises Forbidden: the user is not in the room; NotFound: there is no such
        event, or the user may not see it; InvalidParam: it does not belong to the thread.
        """
        membership = await self._access.membership(user_id, room_id)
        if membership is None or membership.membership != "join":
            raise Forbidden("You are not joined to this room")
        writes = [await self._write_of(user_id, membership, receipt) for receipt in sent]
        await self._append(writes)

    async def receive(self, received: Iterable[edu.Receipt]) -> None:
        """Record what other servers say of their own users, as far as these are in the rooms."""
        writes = []
        async with self._database.connection("receipts") as connection:
            for receipt in list(received)[:MAX_RECEIVED]:
                write = await _received_write(connection, receipt)
                if write is not None:
                    writes.append(write)
        await self._append(writes)

    async def _append(self, writes: Iterable[ReceiptWrite]) -> None:
        appender, log_writer = self._appender, self._log_writer
        await asyncio.gather(*(log_writer.append(appender, write) for write in writes))

    async def _write_of(
        self, user_id: UserID, membership: MembershipRow, receipt: NewReceipt
    ) -> ReceiptWrite:
        record = await self._event(user_id, membership, receipt.event_id)
        thread_nid = await self._thread_nid(record, receipt.thread_id)
        is_counted = record.sub == 0 and record.thread_nid == thread_nid
        return ReceiptWrite(
            room_nid=membership.room_nid,
            receipt_type=receipt.receipt_type,
            user_id=user_id,
            thread_id=receipt.thread_id or UNTHREADED,
            event_id=receipt.event_id,
            event_pos=record.pos,
            event_sub=record.sub,
            thread_nid=thread_nid,
            ts=self._clock.now_ms(),
            counts=True,
            notify_seq=record.notify_seq if is_counted else None,
            highlight_seq=record.highlight_seq if is_counted else None,
        )

    async def _event(
        self, user_id: UserID, membership: MembershipRow, event_id: EventID
    ) -> EventRecord:
        entry = self._tail.find(membership.room_nid, event_id)
        # Members see everything since they came.
        if entry is not None and entry.pos >= membership.pos:
            return entry.record
        access = await self._access.to_members_only(user_id, membership.room_id)
        return await self._timeline.visible_event(access, event_id)

    async def _thread_nid(self, record: EventRecord, thread_id: str | None) -> int | None:
        """Return the number of the thread that is read; None: the main timeline, or everything."""
        if thread_id is None:
            return None
        if thread_id == MAIN_TIMELINE:
            if record.thread_nid is not None:
                raise InvalidParam("The event is in a thread, not in the main timeline")
            return None
        async with self._database.connection("receipts") as connection:
            thread_nid = await receipts.thread_with(
                connection, record.room_nid, thread_id, record.event_id
            )
        if thread_nid is None:
            raise InvalidParam("The event is not related to the thread_id")
        return thread_nid


async def _received_write(connection: Connection, receipt: edu.Receipt) -> ReceiptWrite | None:
    """Return what to write of a receipt from elsewhere; None: nothing."""
    membership = await memberships.membership_of(connection, receipt.user_id, receipt.room_id)
    if membership is None or membership.membership != "join":
        return None
    room_nid = membership.room_nid
    # The event may be on its way: it comes in the same transaction as often as not.
    record = await events.event_by_id(connection, receipt.event_id)
    if record is not None and record.room_nid != room_nid:
        return None
    if receipt.thread_id not in (None, MAIN_TIMELINE) and not await receipts.is_thread(
        connection, room_nid, receipt.thread_id or ""
    ):
        return None
    return ReceiptWrite(
        room_nid=room_nid,
        receipt_type=PUBLIC,
        user_id=receipt.user_id,
        thread_id=receipt.thread_id or UNTHREADED,
        event_id=receipt.event_id,
        event_pos=None if record is None else record.pos,
        event_sub=0 if record is None else record.sub,
        thread_nid=None,
        ts=receipt.ts,
        counts=False,
        notify_seq=None,
        highlight_seq=None,
    )
