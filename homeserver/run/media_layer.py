"""The media repository, put together."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from federation.remote_media import FederatedMedia
from homeserver.config.model import Config
from homeserver.config.sections.media import ObjectStoreSection
from homeserver.errors import NotFound
from homeserver.ports import RemoteContent, RemoteMedia, ThumbnailWish
from homeserver.protocol.identifiers import ServerName
from homeserver.run.federation_layer import FederationLayer
from homeserver.run.foundation import Foundation
from homeserver.run.preview_layer import url_previews
from homeserver.run.thumbnail_layer import thumbnail_layer
from media_repo.access_times import WRITE_SECONDS, AccessTimes
from media_repo.cache import FileCache
from media_repo.library import Library
from media_repo.location_removal import LocationRemoval
from media_repo.places import BucketPlace, FolderPlace, Place
from media_repo.previews.preview import UrlPreviews
from media_repo.previews.routes import PreviewRoutes
from media_repo.quotas import Quotas
from media_repo.remote import RemoteCache
from media_repo.routes.downloads import DownloadRoutes
from media_repo.routes.federation import FederationMediaRoutes
from media_repo.routes.thumbnails import FederationThumbnailRoutes, ThumbnailRoutes
from media_repo.routes.uploads import UploadRoutes
from media_repo.scanning import Scans, scanner_of
from media_repo.serving import Serving
from media_repo.spool import Spool
from media_repo.steps import ManyWatchers, NoRewriter
from media_repo.store import MediaStore
from media_repo.thumbnails.thumbnails import Thumbnails
from media_repo.uploads import Uploads, UploadSettings
from media_repo.waiting import UploadWaits

# Somebody waits for the answer.
_RETRIES: Final = {"max_retries": 3, "retry_timeout": dt.timedelta(seconds=20)}
_HOUR_MS: Final = 60 * 60 * 1000
# Expired IDs and bytes without references are only removed: nobody waits for it.
_CLEANING_SECONDS: Final = 600.0
# Under which names object stores take their credential.
_SECRET_OPTIONS: Final = {
    "s3": "secret_access_key",
    "s3a": "secret_access_key",
    "gs": "service_account_key",
}
_AZURE_SECRET: Final = "account_key"  # noqa: S105 - the name of an option


class MediaLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What everything about media stands on."""

    store: MediaStore
    library: Library
    uploads: Uploads
    serving: Serving
    # Whoever wants to know of new media adds itself before the first request.
    watchers: ManyWatchers
    previews: UrlPreviews
    thumbnails: Thumbnails


class _Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What uploads, downloads and fetches have in common."""

    own_name: ServerName
    store: MediaStore
    scans: Scans
    waits: UploadWaits
    watchers: ManyWatchers


class NoRemoteMedia:
    """The port `RemoteMedia` of a server that talks with no other."""

    def content(
        self,
        server: ServerName,
        media_id: str,
        *,
        thumbnail: ThumbnailWish | None = None,
        timeout_ms: int,
        max_bytes: int,
    ) -> contextlib.AbstractAsyncContextManager[RemoteContent]:
        """Nothing is there. Raises NotFound."""
        raise NotFound


def remote_media(base: Foundation, federation: FederationLayer) -> RemoteMedia:
    """Return the way to the media of other servers, if there is one."""
    if not base.config.federation.enabled:
        return NoRemoteMedia()
    return FederatedMedia(federation.client)


@contextlib.asynccontextmanager
async def media_layer(base: Foundation, remote: RemoteMedia) -> AsyncIterator[MediaLayer]:
    """Make the layer, and remove what arrived only in part at the end of the block.

    Raises OSError: the folder cannot be used; ValueError: the object store cannot.
    """
    spool = Spool(base.config.media_path / "spool")
    await asyncio.to_thread(spool.open)
    try:
        shared = _shared(base, spool)
        remote_cache = _remote_cache(base, shared, remote)
        access_times = AccessTimes(base.database, base.clock)
        uploads = _uploads(base, shared)
        base.tasks.every("media access times", WRITE_SECONDS, access_times.write)
        base.tasks.every("media expiry", _CLEANING_SECONDS, uploads.forget_expired)
        base.tasks.every("media collection", _CLEANING_SECONDS, shared.store.collect)
        try:
            library = _library(base, shared, remote_cache, access_times)
            async with (
                url_previews(base, shared.store, uploads) as previews,
                thumbnail_layer(base, library, shared.store, shared.watchers) as thumbnails,
            ):
                yield MediaLayer(
                    store=shared.store,
                    library=library,
                    uploads=uploads,
                    serving=Serving(
                        shared.store, redirects=base.config.media.object_store.redirects
                    ),
                    watchers=shared.watchers,
                    previews=previews,
                    thumbnails=thumbnails,
                )
        finally:
            await remote_cache.stop()
            await shared.store.stop()
            await access_times.write()
    finally:
        await asyncio.to_thread(spool.close)


def _shared(base: Foundation, spool: Spool) -> _Shared:
    settings = base.config.media.scan
    return _Shared(
        own_name=ServerName(base.config.server.name),
        store=media_store(base, spool),
        scans=Scans(scanner_of(settings), settings, base.clock),
        waits=UploadWaits(
            ServerName(base.config.server.name),
            database=base.database,
            tasks=base.tasks,
            clock=base.clock,
            shutdown=base.shutdown,
        ),
        watchers=ManyWatchers(),
    )


def _remote_cache(base: Foundation, shared: _Shared, remote: RemoteMedia) -> RemoteCache:
    return RemoteCache(
        remote,
        store=shared.store,
        scans=shared.scans,
        watcher=shared.watchers,
        database=base.database,
        tasks=base.tasks,
        clock=base.clock,
        max_bytes=base.config.media.max_remote_bytes,
    )


def _library(
    base: Foundation, shared: _Shared, remote_cache: RemoteCache, access_times: AccessTimes
) -> Library:
    sso = base.config.single_sign_on
    return Library(
        shared.own_name,
        remote=remote_cache,
        waits=shared.waits,
        store=shared.store,
        scans=shared.scans,
        access_times=access_times,
        database=base.database,
        clock=base.clock,
        blocked_servers=base.config.media.blocked_servers,
        freeze_ts=base.config.media.freeze_unauthenticated_ts,
        # client-server-api/#content-repository: "servers SHOULD exclude IdP icons".
        never_frozen=[each.icon for each in (*sso.oidc_providers, *sso.cas_providers) if each.icon],
    )


def _uploads(base: Foundation, shared: _Shared) -> Uploads:
    settings = base.config.media
    return Uploads(
        shared.own_name,
        store=shared.store,
        quotas=Quotas(settings.upload_limits, base.database, base.clock),
        scans=shared.scans,
        waits=shared.waits,
        watcher=shared.watchers,
        rewriter=LocationRemoval() if settings.remove_locations else NoRewriter(),
        database=base.database,
        clock=base.clock,
        settings=UploadSettings(
            max_bytes=settings.max_upload_bytes,
            max_pending=settings.max_pending_uploads,
            pending_lifetime_ms=round(settings.pending_lifetime_hours * _HOUR_MS),
        ),
    )


def media_store(base: Foundation, spool: Spool) -> MediaStore:
    """Return the store of the configuration, over an open spool. Raises ValueError."""
    settings = base.config.media.object_store
    return MediaStore(
        place_of(base.config),
        spool=spool,
        cache=FileCache(base.config.media_path / "cache", settings.cache_max_bytes),
        database=base.database,
        tasks=base.tasks,
        clock=base.clock,
    )


def place_of(config: Config) -> Place:
    """Return where the configuration says that the files are. Raises ValueError."""
    settings = config.media.object_store
    if settings.url is None:
        return FolderPlace(config.media_path)
    return BucketPlace(bucket_of(settings))


def bucket_of(settings: ObjectStoreSection) -> ObjectStore:
    """Open a bucket; nothing is asked of it yet. Raises ValueError: that is none."""
    assert settings.url is not None
    options: dict[str, Any] = dict(settings.options)
    if settings.secret is not None:
        scheme = settings.url.partition(":")[0]
        options[_SECRET_OPTIONS.get(scheme, _AZURE_SECRET)] = settings.secret.reveal()
    client = {"allow_http": settings.allow_http}
    # Each service has its own type of options; which one it is, the URL says.
    open_any: Callable[..., ObjectStore] = from_url
    try:
        return open_any(settings.url, config=options, client_options=client, retry_config=_RETRIES)
    except (BaseError, ValueError, TypeError) as error:
        raise ValueError(f"media.object_store cannot be used: {error}") from error


def media_routes(base: Foundation, media: MediaLayer) -> list[object]:
    """Return the objects whose endpoints upload and download."""
    own_name = ServerName(base.config.server.name)
    routes: list[object] = [
        UploadRoutes(media.uploads),
        DownloadRoutes(media.library, media.serving),
        ThumbnailRoutes(media.thumbnails, media.serving),
        PreviewRoutes(media.previews),
    ]
    if base.config.federation.enabled:
        routes.append(FederationMediaRoutes(own_name, media.library, media.serving))
        routes.append(FederationThumbnailRoutes(own_name, media.thumbnails, media.serving))
    return routes
