"""Removing media by its age and by when it was read last."""

from collections.abc import Iterator
from typing import Final

from homeserver.config.sections.media_retention import MediaRetentionSection
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import media_references, media_selection
from homeserver.storage.database import Database
from homeserver.storage.media_selection import MediaSelection
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_DAY_MS: Final = 24 * 60 * 60 * 1000
# So that one transaction stays short.
_AT_ONCE: Final = 500


class MediaRetention:
    """Applies the setting `media.retention`. Any number of nodes may do so at once."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        own_name: ServerName,
        settings: MediaRetentionSection,
    ) -> None:
        self._database = database
        self._clock = clock
        self._own_name = own_name
        self._settings = settings

    async def remove_old(self) -> None:
        """Remove all that is too old or has not been read for too long."""
        for selection in self._selections():
            removed = 0
            while (count := await self._remove_some(selection)) > 0:
                removed += count
            if removed:
                log.info("old media removed", media=removed)

    async def _remove_some(self, selection: MediaSelection) -> int:
        async with self._database.transaction("media retention") as tx:
            await media_references.lock_removal(tx)
            return await media_selection.delete_expendable(tx, selection, _AT_ONCE)

    def _selections(self) -> Iterator[MediaSelection]:
        settings, own_name = self._settings, self._own_name
        remote, local = MediaSelection(not_origin=own_name), MediaSelection(origin=own_name)
        if settings.remote_unused_days is not None:
            yield remote._replace(unused_since_ts=self._before(settings.remote_unused_days))
        if settings.remote_max_days is not None:
            yield remote._replace(created_before_ts=self._before(settings.remote_max_days))
        if settings.local_unused_days is not None:
            yield local._replace(unused_since_ts=self._before(settings.local_unused_days))
        if settings.local_max_days is not None:
            yield local._replace(created_before_ts=self._before(settings.local_max_days))

    def _before(self, days: float) -> int:
        return self._clock.now_ms() - round(days * _DAY_MS)
