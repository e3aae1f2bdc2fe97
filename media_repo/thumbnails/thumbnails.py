"""Finding thumbnails, and having them made: once, however many ask for the same one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from homeserver.errors import MatrixError, TooLarge
from homeserver.protocol.content_uri import ContentUri
from homeserver.storage import thumbnails as thumbnails_table
from homeserver.storage.database import Database, Transaction
from homeserver.storage.media import MediaRow
from homeserver.storage.thumbnails import StoredThumbnail, ThumbnailKey
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks
from media_repo.library import Library, Wanted
from media_repo.store import MediaStore
from media_repo.thumbnails.job import Made, Refusal, Refused
from media_repo.thumbnails.kinds import HEAD_BYTES, kind_of
from media_repo.thumbnails.sizes import MAX_SIDE, Method, WantedSize, choose_fixed
from media_repo.thumbnails.workers import Thumbnail, ThumbnailWorkers

log = get_logger(__name__)

# A file that has no thumbnail is not tried again for every reader of the room it is in.
_MAX_REFUSALS: Final = 4096
_MAX_BYTES: Final = 2**63


class FoundThumbnail(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the store that are a thumbnail."""

    sha256: bytes
    byte_count: int
    content_type: str


class ThumbnailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about thumbnails."""

    # None: clients get exactly what they ask for.
    offered: Sequence[WantedSize] | None
    # The largest picture or video, in bytes.
    max_source_bytes: int
    has_videos: bool


class Thumbnails:
    """Finds thumbnails of media, of this server or another one.

    Those of other servers' media are made here, of the content: whoever sees a thumbnail mostly
    wants to see the picture too, and another server's thumbnails are of sizes that it chooses.
    """

    def __init__(
        self,
        library: Library,
        *,
        store: MediaStore,
        workers: ThumbnailWorkers,
        database: Database,
        tasks: Tasks,
        settings: ThumbnailSettings,
    ) -> None:
        self._library = library
        self._store = store
        self._workers = workers
        self._database = database
        self._tasks = tasks
        self._settings = settings
        self._running: dict[ThumbnailKey, asyncio.Task[object]] = {}
        self._refusals: dict[tuple[bytes, bool], Refusal] = {}

    async def find(self, uri: ContentUri, wanted: Wanted, size: WantedSize) -> FoundThumbnail:
        """Return a thumbnail, made now if need be; waits for the content.

        Raises MatrixError 400: there can be none; TooLarge, LimitExceeded, and like
        `Library.find`.
        """
        media = await self._library.find(uri, wanted)
        assert media.sha256 is not None
        key = _key_of(media.sha256, self._size_for(size))
        async with self._database.connection("thumbnail find") as connection:
            stored = await thumbnails_table.find(connection, key)
        if stored is None:
            try:
                self._require_small(media)
                stored = await self._make_once(key)
            except Refused as refused:
                raise self._error_of(refused, uri) from refused
        return FoundThumbnail(
            sha256=stored.sha256 or media.sha256,
            byte_count=stored.byte_count,
            content_type=stored.content_type,
        )

    async def make_ready(self, media: MediaRow, sizes: Sequence[WantedSize]) -> None:
        """Make thumbnails from one decoding of the picture, unless it is none, or too large.

        Raises LimitExceeded: too many wait already.
        """
        assert media.sha256 is not None
        try:
            self._require_small(media)
            await self._make(media.sha256, sizes)
        except Refused as refused:
            self._remember(media.sha256, refused.refusal, is_animated=False)

    async def stop(self) -> None:
        """Break off whatever is being made."""
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _size_for(self, size: WantedSize) -> WantedSize:
        bounded = WantedSize(
            min(size.width, MAX_SIDE), min(size.height, MAX_SIDE), size.method, size.is_animated
        )
        if self._settings.offered is None:
            return bounded
        return choose_fixed(bounded, self._settings.offered)

    def _require_small(self, media: MediaRow) -> None:
        if (media.byte_count or 0) > self._settings.max_source_bytes:
            raise Refused("too large")

    async def _make_once(self, key: ThumbnailKey) -> StoredThumbnail:
        """Make a thumbnail, or wait for who makes it. Raises Refused, LimitExceeded."""
        known = self._refusals.get((key.source_sha256, key.is_animated))
        if known is not None:
            raise Refused(known)
        outcome = await asyncio.shield(self._task_for(key))
        if isinstance(outcome, StoredThumbnail):
            return outcome
        if isinstance(outcome, Refused | MatrixError):
            raise outcome
        raise MatrixError(500, "M_UNKNOWN", "The thumbnail could not be made")

    def _task_for(self, key: ThumbnailKey) -> asyncio.Task[object]:
        task = self._running.get(key)
        if task is None:
            # Who asked may leave; the others wait on.
            task = self._running[key] = self._tasks.spawn("thumbnail", self._outcome(key))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return task

    async def _outcome(self, key: ThumbnailKey) -> object:
        try:
            (made,) = await self._make(key.source_sha256, [_size_of(key)])
        except Refused as refused:
            self._remember(key.source_sha256, refused.refusal, is_animated=key.is_animated)
            return refused
        except MatrixError as error:
            return error
        return made

    async def _make(self, source: bytes, sizes: Sequence[WantedSize]) -> list[StoredThumbnail]:
        async with self._store.local_file(source) as path:
            kind = kind_of(await asyncio.to_thread(_head_of, path))
            if kind is None or (kind == "video" and not self._settings.has_videos):
                raise Refused("unknown kind")
            thumbnails = await self._workers.make(path, sizes)
            byte_count = (await asyncio.to_thread(path.stat)).st_size
        stored = []
        for size, thumbnail in zip(sizes, thumbnails, strict=True):
            # One after the other: each holds a connection.
            stored.append(await self._keep(_key_of(source, size), thumbnail, byte_count))
        return stored

    async def _keep(
        self, key: ThumbnailKey, thumbnail: Thumbnail, source_bytes: int
    ) -> StoredThumbnail:
        made, content = thumbnail
        if made.is_original:
            return await self._keep_original(key, made, source_bytes)
        file = await self._store.spool.receive(_whole(content), _MAX_BYTES)
        if file.sha256 == key.source_sha256:
            await self._store.spool.discard(file.path)
            return await self._keep_original(key, made, source_bytes)
        stored = _stored(made, file.sha256, file.byte_count)

        async def add(tx: Transaction) -> StoredThumbnail:
            await thumbnails_table.insert(tx, key, stored)
            return stored

        return await self._store.keep(file, add)

    async def _keep_original(
        self, key: ThumbnailKey, made: Made, source_bytes: int
    ) -> StoredThumbnail:
        stored = _stored(made, None, source_bytes)
        async with self._database.transaction("thumbnail keep") as tx:
            await thumbnails_table.insert(tx, key, stored)
        return stored

    def _remember(self, source: bytes, refusal: Refusal, *, is_animated: bool) -> None:
        while len(self._refusals) >= _MAX_REFUSALS:
            self._refusals.pop(next(iter(self._refusals)))
        self._refusals[source, is_animated] = refusal

    def _error_of(self, refused: Refused, uri: ContentUri) -> MatrixError:
        if refused.refusal == "too large":
            status = 413 if self._library.is_local(uri) else 502
            return TooLarge("The content is too large to be thumbnailed", status=status)
        return MatrixError(400, "M_UNKNOWN", "There are no thumbnails of this content")


class ReadyMade:
    """Makes thumbnails of what comes, before anybody asks: the watcher of `at_upload`."""

    def __init__(self, thumbnails: Thumbnails, sizes: Sequence[WantedSize], tasks: Tasks) -> None:
        self._thumbnails = thumbnails
        self._sizes = sizes
        self._tasks = tasks

    def arrived(self, media: MediaRow) -> None:
        """Begin; when too much has come at once, they are made when somebody asks."""
        self._tasks.spawn("thumbnails at upload", self._make(media))

    async def _make(self, media: MediaRow) -> None:
        try:
            await self._thumbnails.make_ready(media, self._sizes)
        except MatrixError as error:
            log.info("no thumbnails at upload", reason=str(error))


def _key_of(source: bytes, size: WantedSize) -> ThumbnailKey:
    return ThumbnailKey(source, size.width, size.height, size.method, size.is_animated)


def _size_of(key: ThumbnailKey) -> WantedSize:
    method: Method = "crop" if key.method == "crop" else "scale"
    return WantedSize(key.width, key.height, method, key.is_animated)


def _stored(made: Made, sha256: bytes | None, byte_count: int) -> StoredThumbnail:
    return StoredThumbnail(sha256, byte_count, made.content_type, made.width, made.height)


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
