"""Waiting for uploads that were announced, whichever node they come to.

While anybody waits, one statement a quarter of a second asks for all of them; an upload to this
node wakes its waiters at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from homeserver.protocol.content_uri import ContentUri
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import media as media_table
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.tasks import Tasks

_POLL_SECONDS: Final = 0.25


class UploadWaits:
    """Who waits for which upload."""

    def __init__(
        self,
        own_name: ServerName,
        *,
        database: Database,
        tasks: Tasks,
        clock: Clock,
        shutdown: Shutdown,
    ) -> None:
        self._own_name = own_name
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._shutdown = shutdown
        self._waiting: dict[str, tuple[asyncio.Event, int]] = {}
        self._polling: asyncio.Task[None] | None = None

    def uploaded(self, uri: ContentUri) -> None:
        """Wake who waits on this node."""
        waiting = self._waiting.get(uri.media_id)
        if waiting is not None:
            waiting[0].set()

    async def wait(self, uri: ContentUri, timeout_ms: int) -> None:
        """Return when an upload to this server has come or its ID is gone, or after the time."""
        async with self._registered(uri.media_id) as come:
            self._poll()
            waits = [
                asyncio.ensure_future(come.wait()),  # noqa: TID251 - both end with this block
                asyncio.ensure_future(self._shutdown.wait()),  # noqa: TID251 - the same
            ]
            try:
                await asyncio.wait(
                    waits, timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for each in waits:
                    each.cancel()

    @contextlib.asynccontextmanager
    async def _registered(self, media_id: str) -> AsyncIterator[asyncio.Event]:
        event, count = self._waiting.get(media_id, (asyncio.Event(), 0))
        self._waiting[media_id] = (event, count + 1)
        try:
            yield event
        finally:
            event, count = self._waiting[media_id]
            if count == 1:
                del self._waiting[media_id]
            else:
                self._waiting[media_id] = (event, count - 1)

    def _poll(self) -> None:
        if self._polling is None:
            self._polling = self._tasks.spawn("media upload poll", self._ask())

    async def _ask(self) -> None:
        try:
            while self._waiting:
                keys = [(str(self._own_name), media_id) for media_id in self._waiting]
                async with self._database.connection("media upload poll") as connection:
                    done = await media_table.uploaded_among(connection, keys)
                for _, media_id in done:
                    waiting = self._waiting.get(media_id)
                    if waiting is not None:
                        waiting[0].set()
                await self._clock.sleep(_POLL_SECONDS)
        finally:
            self._polling = None
