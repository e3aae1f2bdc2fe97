"""When media was read last, written down now and then."""

from typing import Final

from homeserver.storage import media as media_table
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow
from homeserver.telemetry.clock import Clock

WRITE_SECONDS: Final = 30.0
# Retention counts in days: a later read within this time is not worth a write.
_PRECISION_MS: Final = 60 * 60 * 1000


class AccessTimes:
    """Collects reads and writes them in one statement."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._read: set[tuple[str, str]] = set()

    def note(self, media: MediaRow) -> None:
        """Remember that media is being read."""
        if self._clock.now_ms() - media.last_access_ts > _PRECISION_MS:
            self._read.add((media.origin, media.media_id))

    async def write(self) -> None:
        """Write down what has been read since the last call."""
        if not self._read:
            return
        read, self._read = self._read, set()
        # In one order on every node, so that two of them never wait for each other.
        async with self._database.connection("media access times") as connection:
            await media_table.touch(connection, sorted(read), self._clock.now_ms())
