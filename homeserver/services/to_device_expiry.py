"""Messages to devices that never come: deleted after a time."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from homeserver.config.sections.to_device import ToDeviceSection
from homeserver.storage import to_device
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock

# Clients try again for minutes, after a long sleep for days; servers that were away, too.
REMEMBER_REQUESTS_MS: Final = 7 * 24 * 3_600_000
_BATCH: Final = 1_000


class ToDeviceExpiry:
    """Deletes what is too old; to be called every hour or so, on any number of nodes."""

    def __init__(self, database: Database, settings: ToDeviceSection, clock: Clock) -> None:
        self._database = database
        self._max_age_ms = settings.max_age_ms
        self._clock = clock

    async def delete(self) -> None:
        """Delete old messages to devices and to other servers, and what was sent lately."""
        now_ms = self._clock.now_ms()
        await self._delete_all(to_device.delete_sent_before, now_ms - self._max_age_ms)
        await self._delete_all(to_device.delete_outbound_before, now_ms - self._max_age_ms)
        async with self._database.connection("old_to_device") as connection:
            await to_device.delete_requests_before(connection, now_ms - REMEMBER_REQUESTS_MS)

    async def _delete_all(self, delete: Callable[..., Awaitable[int]], before_ts: int) -> None:
        """Delete batch by batch, so that nobody waits long for a row."""
        deleted = _BATCH
        while deleted == _BATCH:
            # Again after a deadlock: other nodes delete the same rows.
            deleted = await self._database.run_transaction(
                partial(delete, before_ts=before_ts, limit=_BATCH), "old_to_device"
            )
