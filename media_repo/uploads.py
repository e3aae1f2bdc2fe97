"""Uploads: at once, or first the ID and later the content."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from homeserver.errors import Forbidden, LimitExceeded, MatrixError, NotFound, TooLarge
from homeserver.protocol.content_uri import ContentUri, MediaID
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.storage import media as media_table
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.media import MediaRow, NewMedia
from homeserver.telemetry.clock import Clock
from media_repo.headers import clean_filename, safe_content_type
from media_repo.quotas import Quotas
from media_repo.refusals import CannotOverwriteMedia
from media_repo.scanning import Scans
from media_repo.spool import SpooledFile
from media_repo.steps import MediaWatcher, UploadRewriter, uri_of
from media_repo.store import MediaStore
from media_repo.waiting import UploadWaits

# Nobody guesses 144 bits; 24 characters of base64.
_ID_BYTES: Final = 18
# When a user may try again who has announced too much: some may have come or expired by then.
_PENDING_RETRY_MS: Final = 60_000


class MediaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of content besides its bytes; may be anything that a client has sent."""

    content_type: str | None
    filename: str | None = None
    uploader: UserID | None = None


class Announced(msgspec.Struct, frozen=True):
    """An ID whose content may come until `expires_ts`, in ms since 1970."""

    uri: ContentUri
    expires_ts: int


class UploadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about uploads."""

    max_bytes: int
    max_pending: int
    pending_lifetime_ms: int


class Uploads:
    """Takes content of local users, and of the server itself."""

    def __init__(
        self,
        own_name: ServerName,
        *,
        store: MediaStore,
        quotas: Quotas,
        scans: Scans,
        waits: UploadWaits,
        watcher: MediaWatcher,
        rewriter: UploadRewriter,
        database: Database,
        clock: Clock,
        settings: UploadSettings,
    ) -> None:
        self._own_name = own_name
        self._store = store
        self._quotas = quotas
        self._scans = scans
        self._waits = waits
        self._watcher = watcher
        self._rewriter = rewriter
        self._database = database
        self._clock = clock
        self._settings = settings

    @property
    def max_bytes(self) -> int:
        """The largest upload."""
        return self._settings.max_bytes

    async def upload(
        self,
        user_id: UserID,
        chunks: AsyncIterator[bytes],
        announced: int | None,
        facts: MediaFacts,
    ) -> ContentUri:
        """Take an upload of `announced` bytes, if that is known.

        Raises TooLarge, Forbidden (quota, scanner), and what `chunks` raise.
        """
        await self._quotas.check_early(user_id, announced)
        file = await self._receive(chunks, announced, facts)
        return uri_of(await self._add(file, facts))

    async def keep(
        self, chunks: AsyncIterator[bytes], facts: MediaFacts, *, max_bytes: int | None = None
    ) -> MediaRow:
        """Take content that the server itself has made or fetched, such as a preview's image.

        Raises TooLarge, Forbidden (scanner), and what `chunks` raise.
        """
        limit = self._settings.max_bytes if max_bytes is None else max_bytes
        file = await self._store.spool.receive(chunks, limit)
        await self._require_clean(file)
        return await self._add(file, facts)

    async def announce(self, user_id: UserID) -> Announced:
        """Make an ID for content that comes later. Raises LimitExceeded: too many are waiting."""
        now_ts = self._clock.now_ms()
        expires_ts = now_ts + self._settings.pending_lifetime_ms
        media_id = _new_id()
        async with self._database.transaction("media announce") as tx:
            await media_table.lock_uploader(tx, user_id)
            pending = await media_table.pending_count(tx, user_id, now_ts)
            if pending >= self._settings.max_pending:
                raise LimitExceeded(_PENDING_RETRY_MS, "Too many uploads have not come yet")
            await media_table.insert_pending(
                tx, self._own_name, media_id, user_id, now_ts=now_ts, expires_ts=expires_ts
            )
        return Announced(ContentUri(self._own_name, media_id), expires_ts)

    async def upload_to(
        self,
        uri: ContentUri,
        user_id: UserID,
        chunks: AsyncIterator[bytes],
        announced: int | None,
        facts: MediaFacts,
    ) -> None:
        """Take the content of an ID that was made before, by the same user.

        Raises NotFound, Forbidden, CannotOverwriteMedia, and like `upload`.
        """
        await self._require_pending(uri, user_id)
        await self._quotas.check_early(user_id, announced)
        file = await self._receive(chunks, announced, facts)
        new = self._new(uri.media_id, file, facts)

        async def complete(tx: Transaction) -> MediaRow | None:
            await self._quotas.check(tx, user_id, file.byte_count)
            if not await media_table.complete(tx, new):
                raise CannotOverwriteMedia
            return await media_table.find(tx, uri.origin, uri.media_id)

        media = await self._store.keep(file, complete)
        assert media is not None
        self._waits.uploaded(uri)
        self._watcher.arrived(media)

    async def forget_expired(self) -> None:
        """Remove IDs whose content has not come in time."""
        async with self._database.connection("media expire") as connection:
            await media_table.delete_expired(connection, self._clock.now_ms())

    async def _require_pending(self, uri: ContentUri, user_id: UserID) -> None:
        async with self._database.connection("media find") as connection:
            media = await media_table.find(connection, uri.origin, uri.media_id)
        if media is None or uri.origin != self._own_name:
            raise NotFound("Unknown media ID")
        if media.uploader != user_id:
            raise Forbidden("This media ID was made for somebody else")
        if media.sha256 is not None:
            raise CannotOverwriteMedia
        if media.expires_ts is not None and media.expires_ts <= self._clock.now_ms():
            raise NotFound("The media ID has expired")

    async def _receive(
        self, chunks: AsyncIterator[bytes], announced: int | None, facts: MediaFacts
    ) -> SpooledFile:
        if (announced or 0) > self._settings.max_bytes:
            raise TooLarge(f"The largest upload is {self._settings.max_bytes} bytes")
        file = await self._store.spool.receive(chunks, self._settings.max_bytes)
        file = await self._rewritten(file, safe_content_type(facts.content_type))
        await self._require_clean(file)
        return file

    async def _rewritten(self, file: SpooledFile, content_type: str) -> SpooledFile:
        spool = self._store.spool
        target = spool.new_path()
        try:
            if not await self._rewriter.rewrite(file.path, content_type, target):
                return file
            rewritten = await spool.adopt(target)
        except BaseException:
            await asyncio.shield(spool.discard(file.path))
            await asyncio.shield(spool.discard(target))
            raise
        await spool.discard(file.path)
        return rewritten

    async def _require_clean(self, file: SpooledFile) -> None:
        is_clean = False
        try:
            is_clean = await self._scans.is_clean(file.sha256, file.path)
        finally:
            if not is_clean:
                await asyncio.shield(self._store.spool.discard(file.path))
        if not is_clean:
            raise Forbidden("The content was refused by the scanner of this server")

    async def _add(self, file: SpooledFile, facts: MediaFacts) -> MediaRow:
        new = self._new(_new_id(), file, facts)

        async def mark_and_add(connection: Connection) -> MediaRow | None:
            if facts.uploader is None or not self._quotas.are_set:
                return await _inserted(connection, new)
            async with connection.transaction():
                await self._quotas.check(connection, facts.uploader, file.byte_count)
                return await _inserted(connection, new)

        media = await self._store.keep_with(file, mark_and_add)
        self._watcher.arrived(media)
        return media

    def _new(self, media_id: MediaID, file: SpooledFile, facts: MediaFacts) -> NewMedia:
        return NewMedia(
            origin=self._own_name,
            media_id=media_id,
            sha256=file.sha256,
            byte_count=file.byte_count,
            content_type=safe_content_type(facts.content_type),
            filename=clean_filename(facts.filename),
            uploader=facts.uploader,
            now_ts=self._clock.now_ms(),
        )


async def _inserted(connection: Connection, new: NewMedia) -> MediaRow | None:
    is_added = await media_table.insert_stored(connection, new)
    if is_added is None:
        return None
    if not is_added:
        raise MatrixError(500, "M_UNKNOWN", "The media ID is taken")
    return media_table.row_of_new(new)


def _new_id() -> MediaID:
    return MediaID(secrets.token_urlsafe(_ID_BYTES))
