"""How many one-time keys devices have: a cache that follows the log."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage import log, one_time_keys
from homeserver.storage.database import Database
from homeserver.storage.one_time_keys import KeyCountsRow
from homeserver.streams.entries import DEVICE_CHANGED, ONE_TIME_KEYS_CHANGED, LogEntry, UserEntry
from homeserver.streams.tail import Tail

# Some hundred bytes each.
MAX_DEVICES = 50_000

_Device: TypeAlias = tuple[str, str | None]


class KeyCounts:
    """The counts of devices that sync here, and when they have last changed."""

    def __init__(self, database: Database, tail: Tail, *, max_devices: int = MAX_DEVICES) -> None:
        self._database = database
        self._tail = tail
        self._max_devices = max_devices
        self._counts: OrderedDict[_Device, KeyCountsRow] = OrderedDict()
        self._positions: dict[_Device, int] = {}
        tail.follow(self._take, on_gap=self._forget)

    def may_have_changed(self, user_id: UserID, device_id: DeviceID, after: int) -> bool:
        """Whether the counts may have changed after a position."""
        if after < self._tail.floor:
            return True
        return self._positions.get((user_id, device_id), 0) > after

    async def of_device(self, user_id: UserID, device_id: DeviceID) -> KeyCountsRow:
        """Return the counts of a device, as of the tail's position or later."""
        found = self._counts.get((user_id, device_id))
        if found is not None:
            self._counts.move_to_end((user_id, device_id))
            return found
        return await self._load((user_id, device_id))

    async def _load(self, device: _Device) -> KeyCountsRow:
        user_id, device_id = device
        assert device_id is not None
        entries = None
        while entries is None or any(_device_of(entry) == device for entry in entries):
            async with self._database.transaction(
                "key_counts", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                counts = await one_time_keys.counts_of(tx, user_id, device_id)
            entries = await self._tail.since(position)
        self._counts[device] = counts
        while len(self._counts) > self._max_devices:
            self._counts.popitem(last=False)
        return counts

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            device = _device_of(entry)
            if device is not None:
                self._counts.pop(device, None)
                self._positions[device] = entry.pos
        if len(self._positions) > self._max_devices:
            floor = self._tail.floor
            self._positions = {each: pos for each, pos in self._positions.items() if pos > floor}

    def _forget(self) -> None:
        self._counts.clear()
        self._positions.clear()


def _device_of(entry: LogEntry) -> _Device | None:
    """Return the device whose counts an entry may have changed."""
    if isinstance(entry, UserEntry) and entry.kind in (ONE_TIME_KEYS_CHANGED, DEVICE_CHANGED):
        return entry.user_id, entry.device_id
    return None
