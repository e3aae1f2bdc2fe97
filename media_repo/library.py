"""From an `mxc://` URI to its content: here, about to be uploaded, or on another server."""

from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import NotFound
from homeserver.protocol.content_uri import ContentUri
from homeserver.protocol.glob import compile_globs
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import media as media_table
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow
from homeserver.telemetry.clock import Clock
from media_repo.access_times import AccessTimes
from media_repo.refusals import NotYetUploaded
from media_repo.remote import ArrivingMedia, RemoteCache
from media_repo.scanning import Scans
from media_repo.steps import uri_of
from media_repo.store import MediaStore
from media_repo.waiting import UploadWaits

DEFAULT_TIMEOUT_MS: Final = 20_000  # client-server-api/#content-repository: `timeout_ms`
# "The content repository SHOULD impose a maximum value".
MAX_TIMEOUT_MS: Final = 60_000

Opened: TypeAlias = MediaRow | ArrivingMedia


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How media is asked for."""

    timeout_ms: int = DEFAULT_TIMEOUT_MS
    # False: whatever is not here is not there.
    allow_remote: bool = True
    # By a deprecated path: the freeze applies.
    is_unauthenticated: bool = False


class Library:
    """Finds media. Refusals are those of the download operations."""

    def __init__(
        self,
        own_name: ServerName,
        *,
        remote: RemoteCache,
        waits: UploadWaits,
        store: MediaStore,
        scans: Scans,
        access_times: AccessTimes,
        database: Database,
        clock: Clock,
        blocked_servers: Sequence[str],
        freeze_ts: int | None,
        never_frozen: Collection[str] = (),
    ) -> None:
        """`freeze_ts`: see the setting `media.freeze_unauthenticated_ts`.

        `never_frozen`: URIs of what is shown to who has no access token yet.
        """
        self._own_name = own_name
        self._remote = remote
        self._waits = waits
        self._store = store
        self._scans = scans
        self._access_times = access_times
        self._database = database
        self._clock = clock
        self._blocked = compile_globs(blocked_servers)
        self._freeze_ts = freeze_ts
        self._never_frozen = frozenset(never_frozen)

    def is_local(self, uri: ContentUri) -> bool:
        """Whether the content was uploaded here."""
        return uri.origin == self._own_name

    async def find(self, uri: ContentUri, wanted: Wanted) -> MediaRow:
        """Return media that has its bytes in the store; waits for them.

        Raises NotFound, NotYetUploaded, TooLarge (502), RemoteError.
        """
        known = await self._known(uri, wanted)
        if known is None:
            known = await self._remote.fetch(uri, _bounded(wanted.timeout_ms))
        return await self._admit(known, wanted)

    async def open(self, uri: ContentUri, wanted: Wanted) -> Opened:
        """Return media that is in the store, or the content of another server as it arrives.

        Raises like `find`.
        """
        known = await self._known(uri, wanted)
        if known is None:
            opened = await self._remote.open(uri, _bounded(wanted.timeout_ms))
            if isinstance(opened, ArrivingMedia):
                return opened
            known = opened
        return await self._admit(known, wanted)

    async def _known(self, uri: ContentUri, wanted: Wanted) -> MediaRow | None:
        """Return the row of media that is here; None: it is to be fetched."""
        if self._blocked.matches(uri.origin):
            raise NotFound("This server does not pass on media of that server")
        media = await self._row_of(uri)
        if self.is_local(uri):
            return await self._uploaded(uri, media, wanted)
        if media is not None:
            return media
        may_fetch = wanted.allow_remote or self._remote.is_fetching(uri)
        # What would be fetched now counts as new. Spec: client-server-api/#content-repository
        if not may_fetch or self._is_frozen(uri, self._clock.now_ms(), wanted):
            raise NotFound
        return None

    async def _uploaded(self, uri: ContentUri, media: MediaRow | None, wanted: Wanted) -> MediaRow:
        if media is not None and media.sha256 is None and not self._is_expired(media):
            await self._waits.wait(uri, _bounded(wanted.timeout_ms))
            media = await self._row_of(uri)
        if media is None or (media.sha256 is None and self._is_expired(media)):
            raise NotFound
        if media.sha256 is None:
            raise NotYetUploaded
        return media

    async def _admit(self, media: MediaRow, wanted: Wanted) -> MediaRow:
        is_frozen = self._is_frozen(uri_of(media), media.uploaded_ts or 0, wanted)
        if media.quarantined_by is not None or is_frozen:
            raise NotFound
        assert media.sha256 is not None
        if self._scans.on_download and not await self._is_clean(media.sha256):
            raise NotFound("The content was refused by the scanner of this server")
        self._access_times.note(media)
        return media

    async def _is_clean(self, sha256: bytes) -> bool:
        remembered = self._scans.verdict_on(sha256)
        if remembered is not None:
            return remembered
        async with self._store.local_file(sha256) as path:
            return await self._scans.is_clean(sha256, path)

    async def _row_of(self, uri: ContentUri) -> MediaRow | None:
        async with self._database.connection("media find") as connection:
            return await media_table.find(connection, uri.origin, uri.media_id)

    def _is_expired(self, media: MediaRow) -> bool:
        return media.expires_ts is not None and media.expires_ts <= self._clock.now_ms()

    def _is_frozen(self, uri: ContentUri, uploaded_ts: int, wanted: Wanted) -> bool:
        if not wanted.is_unauthenticated or self._freeze_ts is None:
            return False
        return uploaded_ts >= self._freeze_ts and str(uri) not in self._never_frozen


def _bounded(timeout_ms: int) -> int:
    return min(max(timeout_ms, 0), MAX_TIMEOUT_MS)
