"""What waits for a device: given out in order, until the device says that it has it.

Spec: client-server-api/#server-behaviour-4
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage import to_device
from homeserver.storage.database import Connection, Database
from homeserver.storage.to_device import ToDeviceRow
from homeserver.streams.entries import LogEntry, ToDeviceEntry
from homeserver.streams.tail import Tail

# "100 messages is recommended as a reasonable limit."
MAX_BATCH: Final = 100
# Some 20 MB. Of a device that is forgotten, one sync looks into the database.
MAX_DEVICES: Final = 100_000
MAX_USERS: Final = 50_000

_encode: Final = msgspec.json.Encoder().encode


class ToDeviceBatch(NamedTuple):
    """Messages as JSON, in order; `told_upto` is where they end if more wait, else None."""

    events: Sequence[bytes]
    told_upto: int | None = None


NOTHING: Final = ToDeviceBatch(())


class ToDeviceInbox:
    """Gives messages to devices, and deletes what these have acknowledged.

    Whoever has got nothing lately, as nearly every device at nearly any time, needs no statement.
    """

    def __init__(
        self,
        database: Database,
        tail: Tail,
        *,
        max_devices: int = MAX_DEVICES,
        max_users: int = MAX_USERS,
    ) -> None:
        self._database = database
        self._tail = tail
        self._max_devices = max_devices
        self._max_users = max_users
        # The newest position of messages to each user that the tail has, or has had.
        self._arrivals: dict[str, int] = {}
        # Up to where it is known that nothing waits for a device any more. On whichever node the
        # messages were taken: nothing is ever added below the head of the log.
        self._empty_upto: OrderedDict[tuple[str, str], int] = OrderedDict()
        # After a gap the tail's floor says that nothing is known.
        tail.follow(self._take)

    async def take_up(
        self, user_id: UserID, device_id: DeviceID, acknowledged: int | None, now: int
    ) -> ToDeviceBatch:
        """Return the first messages up to the position `now` that are not acknowledged.

        `acknowledged` is a position up to which the device has got everything, None where it has
        nothing to tell; what is acknowledged is gone for good.
        """
        key = (user_id, device_id)
        empty_upto = self._empty_upto.get(key)
        if empty_upto is not None and not self._may_have_got_after(user_id, empty_upto):
            self._remember(key, now)
            return NOTHING
        rows = await self._read(user_id, device_id, acknowledged, now)
        if not rows:
            self._remember(key, now)
            return NOTHING
        if acknowledged is not None:
            self._remember(key, acknowledged)
        return _batch(rows)

    async def _read(
        self, user_id: UserID, device_id: DeviceID, acknowledged: int | None, now: int
    ) -> list[ToDeviceRow]:
        async with self._database.connection("to_device") as connection:
            if acknowledged is not None:
                await to_device.delete_acknowledged(connection, user_id, device_id, acknowledged)
            # One more than fits tells whether more wait.
            return await to_device.messages_of(
                connection, user_id, device_id, acknowledged or 0, now, MAX_BATCH + 1
            )

    def _may_have_got_after(self, user_id: UserID, position: int) -> bool:
        return position < self._tail.floor or self._arrivals.get(user_id, 0) > position

    def _remember(self, key: tuple[str, str], empty_upto: int) -> None:
        self._empty_upto[key] = max(empty_upto, self._empty_upto.get(key, 0))
        self._empty_upto.move_to_end(key)
        if len(self._empty_upto) > self._max_devices:
            self._empty_upto.popitem(last=False)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, ToDeviceEntry):
                self._arrivals.update(dict.fromkeys(entry.user_ids, entry.pos))
        if len(self._arrivals) > self._max_users:
            floor = self._tail.floor
            self._arrivals = {
                user_id: pos for user_id, pos in self._arrivals.items() if pos > floor
            }


async def messages_after(
    connection: Connection, user_id: UserID, device_id: DeviceID, after: int, upto: int
) -> ToDeviceBatch:
    """Return the first messages at positions in (after, upto]."""
    return _batch(
        await to_device.messages_of(connection, user_id, device_id, after, upto, MAX_BATCH + 1)
    )


def _batch(rows: Sequence[ToDeviceRow]) -> ToDeviceBatch:
    if len(rows) <= MAX_BATCH:
        return ToDeviceBatch([_event(row) for row in rows])
    told = rows[:MAX_BATCH]
    return ToDeviceBatch([_event(row) for row in told], told[-1].pos)


def _event(row: ToDeviceRow) -> bytes:
    return b'{"type":%b,"sender":%b,"content":%b}' % (
        _encode(row.type),
        _encode(row.sender),
        row.content,
    )
