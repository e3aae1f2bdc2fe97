"""Transaction IDs: a request that is sent twice has its effect once.

Spec: client-server-api/#transaction-identifiers
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage import events, log
from homeserver.storage.database import Database
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock

# "…until the transaction is complete": clients retry for minutes, after a long sleep for days.
REMEMBERED_MS = 3 * 24 * 3_600_000
# About 100 bytes for each event that a device sent lately.
MAX_DEVICES = 10_000

_Device: TypeAlias = tuple[str, str]
_Sent: TypeAlias = dict[tuple[int, str, str], EventID]


class TransactionKey(NamedTuple):
    """What a transaction ID is unique in: a device, a room and the rest of the path.

    `path` is an event type, or that of redactions with the event that is to be redacted.
    """

    user_id: str
    device_id: str
    room_id: RoomID
    path: str
    txn_id: str


def redaction_path(redacts: str) -> str:
    """Return the path of a request to redact an event."""
    return f"m.room.redaction {redacts}"


class SentTransactions:
    """Which events the devices of this node have sent under which transaction IDs.

    A device's recent sends are read once and then follow the log, so that a send costs no
    statement. Another node's commit that is not in the tail yet is not in the room's head either:
    what is built on that loses the compare-and-set, and then looks here again.
    """

    def __init__(self, database: Database, tail: Tail, clock: Clock) -> None:
        self._database = database
        self._tail = tail
        self._clock = clock
        self._devices: OrderedDict[_Device, _Sent] = OrderedDict()
        self._pending: dict[TransactionKey, asyncio.Future[EventID | None]] = {}
        tail.follow(self._take, on_gap=self._devices.clear)

    async def once(self, key: TransactionKey, send: Callable[[], Awaitable[EventID]]) -> EventID:
        """Run `send` unless the same request is already on its way: then share its result."""
        while (running := self._pending.get(key)) is not None:
            sent = await asyncio.shield(running)
            if sent is not None:
                return sent
        future: asyncio.Future[EventID | None] = asyncio.get_running_loop().create_future()
        self._pending[key] = future
        event_id = None
        try:
            event_id = await send()
            return event_id
        finally:
            del self._pending[key]
            future.set_result(event_id)

    async def event_of(self, key: TransactionKey, room_nid: int) -> EventID | None:
        """Return the event that the transaction has made, if it has made one."""
        device = (key.user_id, key.device_id)
        await self._tail.catch_up()
        sent = self._devices.get(device)
        if sent is None:
            sent = await self._load(device)
        else:
            self._devices.move_to_end(device)
        return sent.get((room_nid, key.path, key.txn_id))

    async def _load(self, device: _Device) -> _Sent:
        entries = None
        while entries is None:
            async with self._database.transaction(
                "transactions", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                rows = await events.sent_transactions(
                    tx, *device, self._clock.now_ms() - REMEMBERED_MS
                )
            entries = await self._tail.since(position)
        sent = {(row.room_nid, _path(row.type, row.core), row.txn_id): row.event_id for row in rows}
        for entry in entries:
            if _device_of(entry) == device and isinstance(entry, EventEntry):
                _remember(sent, entry)
        self._devices[device] = sent
        while len(self._devices) > MAX_DEVICES:
            self._devices.popitem(last=False)
        return sent

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            device = _device_of(entry)
            sent = self._devices.get(device) if device is not None else None
            if sent is not None and isinstance(entry, EventEntry):
                _remember(sent, entry)


def _device_of(entry: LogEntry) -> _Device | None:
    """Return which device sent an event with a transaction ID."""
    if not isinstance(entry, EventEntry) or entry.record.txn_id is None:
        return None
    return (entry.record.sender, entry.record.device_id or "")


def _remember(sent: _Sent, entry: EventEntry) -> None:
    record = entry.record
    if record.txn_id is not None:
        path = _path(record.type, record.core)
        sent[(record.room_nid, path, record.txn_id)] = record.event_id


class _RedactionContent(msgspec.Struct):
    redacts: str | None = None


class _RedactionCore(msgspec.Struct):
    content: _RedactionContent
    redacts: str | None = None


_decode = msgspec.json.Decoder(_RedactionCore).decode


def _path(event_type: str, core: bytes | None) -> str:
    if event_type != "m.room.redaction" or core is None:
        return event_type
    redaction = _decode(core)
    return redaction_path(redaction.redacts or redaction.content.redacts or "")
