"""When and where devices were last seen, written in the background."""

from functools import partial
from typing import Final

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage import devices
from homeserver.storage.database import Database
from homeserver.storage.devices import Sighting
from homeserver.telemetry.clock import Clock
from homeserver.web.params import RequestFacts

# The specification allows the time to be "a few minutes out of date".
WRITE_EVERY_MS: Final = 60_000
_MAX_REMEMBERED: Final = 100_000
_BATCH: Final = 1000


class LastSeen:
    """Collects what requests tell of their devices; one write a minute for each at most."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted_ms: dict[tuple[UserID, DeviceID], int] = {}
        self._unwritten: dict[tuple[UserID, DeviceID], Sighting] = {}

    def note(self, user_id: UserID, device_id: DeviceID, request: RequestFacts) -> None:
        """Remember that a device made a request; cheap enough for every request."""
        key, now_ms = (user_id, device_id), self._clock.now_ms()
        if now_ms - self._noted_ms.get(key, 0) < WRITE_EVERY_MS:
            return
        if len(self._noted_ms) >= _MAX_REMEMBERED:
            # Costs each device one write before its minute is over, and nothing else.
            self._noted_ms.clear()
        self._noted_ms[key] = now_ms
        self._unwritten[key] = Sighting(user_id, device_id, now_ms, request.ip, request.user_agent)

    async def write(self) -> None:
        """Write what has come together; run in the background, and once when the node stops."""
        while self._unwritten:
            keys = list(self._unwritten)[:_BATCH]
            batch = [self._unwritten.pop(key) for key in keys]
            # Again after a deadlock: other nodes may write the same devices in another order.
            await self._database.run_transaction(
                partial(devices.record_sightings, sightings=batch), "last_seen"
            )
