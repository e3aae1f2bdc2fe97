"""Forgetting old previews, and the images that only they showed."""

from typing import Final

from homeserver.protocol.identifiers import ServerName
from homeserver.storage import media, url_previews
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock

# So that one transaction stays short.
_AT_ONCE: Final = 500


class PreviewExpiry:
    """Removes what is older than it may be."""

    def __init__(
        self, database: Database, clock: Clock, own_name: ServerName, *, kept_ms: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._own_name = own_name
        self._kept_ms = kept_ms

    async def forget_old(self) -> None:
        """Forget all previews that were fetched too long ago."""
        before_ts = self._clock.now_ms() - self._kept_ms
        while await self._forget_some(before_ts) == _AT_ONCE:
            pass

    async def _forget_some(self, before_ts: int) -> int:
        async with self._database.transaction("url_preview_expiry") as tx:
            count, images = await url_previews.delete_older(tx, before_ts, _AT_ONCE)
            for image_id in images:
                await media.delete(tx, self._own_name, image_id)
        return count
