"""Media of other servers: fetched once for all who wait, and passed on while it arrives."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from homeserver.errors import MatrixError, NotFound, RemoteError, TooLarge
from homeserver.ports import RemoteContent, RemoteMedia
from homeserver.protocol.content_uri import ContentUri
from homeserver.storage import media as media_table
from homeserver.storage.database import Database, Transaction
from homeserver.storage.media import MediaRow, NewMedia
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks
from media_repo.arrivals import Arrival
from media_repo.headers import filename_in, safe_content_type
from media_repo.refusals import NotYetUploaded
from media_repo.scanning import Scans
from media_repo.spool import SpooledFile
from media_repo.steps import MediaWatcher
from media_repo.store import MediaStore

log = get_logger(__name__)

# Each holds a connection and a file; more of them wait.
_MAX_FETCHES: Final = 64


class ContentHead(msgspec.Struct, frozen=True):
    """What another server says of a content before the first byte of it."""

    content_type: str
    filename: str | None


class ArrivingMedia(msgspec.Struct, frozen=True):
    """Content of another server that can be passed on before all of it is here."""

    head: ContentHead
    chunks: AsyncIterator[bytes]


class _Fetch:
    """One content on its way."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.arrival: Final = Arrival()
        self.head: Final[asyncio.Future[ContentHead]] = loop.create_future()
        self.done: Final[asyncio.Future[MediaRow]] = loop.create_future()

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits for the beginning or the end."""
        for future in (self.head, self.done):
            if not future.done():
                future.set_exception(error)
                # Whoever waited may have left; then nobody needs to hear it.
                future.exception()


class RemoteCache:
    """Brings media of other servers here."""

    def __init__(
        self,
        remote: RemoteMedia,
        *,
        store: MediaStore,
        scans: Scans,
        watcher: MediaWatcher,
        database: Database,
        tasks: Tasks,
        clock: Clock,
        max_bytes: int,
    ) -> None:
        self._remote = remote
        self._store = store
        self._scans = scans
        self._watcher = watcher
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._max_bytes = max_bytes
        self._fetches: dict[ContentUri, _Fetch] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_MAX_FETCHES)

    async def fetch(self, uri: ContentUri, timeout_ms: int) -> MediaRow:
        """Return the media when all of it is here.

        Raises NotFound, NotYetUploaded, TooLarge (502), RemoteError.
        """
        return await asyncio.shield(self._fetch_of(uri, timeout_ms).done)

    async def open(self, uri: ContentUri, timeout_ms: int) -> ArrivingMedia | MediaRow:
        """Return the media as soon as it begins to arrive, or with a scanner, when it is clean.

        Raises like `fetch`; reading the chunks does too.
        """
        fetch = self._fetch_of(uri, timeout_ms)
        if self._scans.is_on:
            return await asyncio.shield(fetch.done)
        head = await asyncio.shield(fetch.head)
        return ArrivingMedia(head, _passed_on(fetch))

    def is_fetching(self, uri: ContentUri) -> bool:
        """Whether the media is on its way."""
        return uri in self._fetches

    async def stop(self) -> None:
        """Break off whatever is on its way; it is fetched again when somebody asks for it."""
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _fetch_of(self, uri: ContentUri, timeout_ms: int) -> _Fetch:
        fetch = self._fetches.get(uri)
        # One that has broken off is cleaned up meanwhile: whoever comes now asks anew.
        if fetch is None or fetch.arrival.is_broken_off:
            fetch = self._fetches[uri] = _Fetch()
            running = self._tasks.spawn("media remote fetch", self._run(uri, fetch, timeout_ms))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        return fetch

    async def _run(self, uri: ContentUri, fetch: _Fetch, timeout_ms: int) -> None:
        try:
            async with self._slots:
                media = await self._bring(uri, fetch, timeout_ms)
        except (MatrixError, RemoteError) as error:
            log.info("remote media cannot be had", origin=uri.origin, reason=str(error))
            fetch.fail(error)
        except BaseException:
            fetch.fail(RemoteError(uri.origin, "the fetch broke off"))
            raise
        else:
            fetch.done.set_result(media)
            self._watcher.arrived(media)
        finally:
            if self._fetches.get(uri) is fetch:
                del self._fetches[uri]

    async def _bring(self, uri: ContentUri, fetch: _Fetch, timeout_ms: int) -> MediaRow:
        try:
            async with self._remote.content(
                uri.origin,
                uri.media_id,
                timeout_ms=timeout_ms,
                # A byte more, so that what is too large ends here, as what it is.
                max_bytes=self._max_bytes + 1,
            ) as content:
                head = self._head_of(content)
                fetch.head.set_result(head)
                file = await fetch.arrival.fill(
                    self._store.spool,
                    content.chunks(),
                    max_bytes=self._max_bytes,
                    too_large=_too_large(),
                )
        except RemoteError as error:
            raise _refusal_of(error) from error
        return await self._keep(uri, head, file)

    def _head_of(self, content: RemoteContent) -> ContentHead:
        if (content.content_length or 0) > self._max_bytes:
            raise _too_large()
        return ContentHead(
            safe_content_type(content.content_type), filename_in(content.content_disposition)
        )

    async def _keep(self, uri: ContentUri, head: ContentHead, file: SpooledFile) -> MediaRow:
        if not await self._scans.is_clean(file.sha256, file.path):
            await self._store.spool.discard(file.path)
            raise NotFound("The content was refused by the scanner of this server")
        new = NewMedia(
            origin=uri.origin,
            media_id=uri.media_id,
            sha256=file.sha256,
            byte_count=file.byte_count,
            content_type=head.content_type,
            filename=head.filename,
            uploader=None,
            now_ts=self._clock.now_ms(),
        )

        async def add(tx: Transaction) -> MediaRow | None:
            # Another node may have been faster; then its row stands.
            await media_table.insert(tx, new)
            return await media_table.find(tx, uri.origin, uri.media_id)

        media = await self._store.keep(file, add)
        assert media is not None
        return media


async def _passed_on(fetch: _Fetch) -> AsyncIterator[bytes]:
    """Yield the content as it comes; who has all of it finds it in the store."""
    async for piece in fetch.arrival.read():
        yield piece
    await asyncio.wait([fetch.done])


def _refusal_of(error: RemoteError) -> Exception:
    """Return what a client is told when another server refuses."""
    if error.errcode == "M_NOT_YET_UPLOADED":
        return NotYetUploaded()
    if error.errcode == "M_TOO_LARGE" or error.status == 413:
        return _too_large()
    if error.status in (403, 404, 410):
        return NotFound()
    return error


def _too_large() -> TooLarge:
    # client-server-api/#content-repo-security-considerations: "should not proxy … 502"
    return TooLarge("The content is too large for this server to pass on", status=502)
