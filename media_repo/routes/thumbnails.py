"""Thumbnails, for clients and for other servers. Spec: client-server-api/#thumbnails"""

from typing import Annotated, Final

import msgspec

from homeserver.protocol.content_uri import ContentUri, MediaID
from homeserver.protocol.identifiers import ServerName
from homeserver.web.answers import Content, Download
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import CLIENT_V1, FEDERATION_V1, MEDIA_V3
from homeserver.web.requester import Requester
from media_repo.headers import PRIVATE_CACHING, PUBLIC_CACHING
from media_repo.library import DEFAULT_TIMEOUT_MS, Wanted
from media_repo.multipart import multipart_of
from media_repo.serving import Serving
from media_repo.thumbnails.sizes import Method, WantedSize
from media_repo.thumbnails.thumbnails import FoundThumbnail, Thumbnails

_Side = Annotated[int, msgspec.Meta(ge=1)]
_NAMES: Final = {
    "image/jpeg": "thumbnail.jpg",
    "image/png": "thumbnail.png",
    "image/gif": "thumbnail.gif",
    "image/webp": "thumbnail.webp",
}


class ThumbnailPath(Params, frozen=True):
    """The two halves of an `mxc://` URI."""

    server_name: ServerName
    media_id: MediaID


class OwnThumbnailPath(Params, frozen=True):
    """A content of this server."""

    media_id: MediaID


class ThumbnailQuery(Query, frozen=True):
    """The least width and height in pixels, and what kind of thumbnail."""

    width: _Side
    height: _Side
    method: Method = "scale"
    # Absent: "the server SHOULD NOT return an animated thumbnail".
    animated: bool = False
    timeout_ms: int = DEFAULT_TIMEOUT_MS


class OldThumbnailQuery(Query, frozen=True):
    """What the deprecated path takes; it has no redirects, so `allow_redirect` changes nothing."""

    width: _Side
    height: _Side
    method: Method = "scale"
    animated: bool = False
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    allow_remote: bool = True
    allow_redirect: bool = False


class ThumbnailRoutes:
    """`GET /media/thumbnail/…`, with an access token or by the deprecated paths without one.

    Thumbnails are served from here even where downloads are redirected to an object store: they
    are small, and their type must be told.
    """

    def __init__(self, thumbnails: Thumbnails, serving: Serving) -> None:
        self._thumbnails = thumbnails
        self._serving = serving

    @endpoint(
        "GET",
        CLIENT_V1 / "media/thumbnail/{server_name}/{media_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        spec="client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid",
    )
    async def get_thumbnail(
        self, requester: Requester, path: ThumbnailPath, query: ThumbnailQuery
    ) -> Content:
        """Download a thumbnail of content from the content repository."""
        found = await self._thumbnails.find(
            ContentUri(path.server_name, path.media_id),
            Wanted(timeout_ms=query.timeout_ms),
            _size_of(query),
        )
        return _content(self._serving, found, caching=PRIVATE_CACHING)

    @endpoint(
        "GET",
        MEDIA_V3 / "thumbnail/{server_name}/{media_id}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        deprecated=True,
        spec="client-server-api/#get_matrixmediav3thumbnailservernamemediaid",
    )
    async def get_thumbnail_by_old_path(
        self, path: ThumbnailPath, query: OldThumbnailQuery
    ) -> Content:
        """Download a thumbnail of content from the content repository without an access token."""
        wanted = Wanted(
            timeout_ms=query.timeout_ms,
            allow_remote=query.allow_remote,
            is_unauthenticated=True,
        )
        uri = ContentUri(path.server_name, path.media_id)
        found = await self._thumbnails.find(uri, wanted, _size_of(query))
        return _content(self._serving, found, caching=PUBLIC_CACHING)


class FederationThumbnailRoutes:
    """`GET /_matrix/federation/v1/media/thumbnail/{mediaId}`."""

    def __init__(self, own_name: ServerName, thumbnails: Thumbnails, serving: Serving) -> None:
        self._own_name = own_name
        self._thumbnails = thumbnails
        self._serving = serving

    @endpoint(
        "GET",
        FEDERATION_V1 / "media/thumbnail/{media_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1mediathumbnailmediaid",
    )
    async def get_media_thumbnail(
        self, origin: ServerName, path: OwnThumbnailPath, query: ThumbnailQuery
    ) -> Download:
        """Download a thumbnail of content from the content repository."""
        found = await self._thumbnails.find(
            ContentUri(self._own_name, path.media_id),
            Wanted(timeout_ms=query.timeout_ms, allow_remote=False),
            _size_of(query),
        )
        return multipart_of(_content(self._serving, found, caching=PRIVATE_CACHING))


def _size_of(query: ThumbnailQuery | OldThumbnailQuery) -> WantedSize:
    return WantedSize(query.width, query.height, query.method, query.animated)


def _content(serving: Serving, found: FoundThumbnail, *, caching: str) -> Content:
    # "MUST be `inline`, and SHOULD contain a file name": all types of thumbnails are such.
    return serving.stored(
        found.sha256,
        found.byte_count,
        found.content_type,
        _NAMES[found.content_type],
        caching=caching,
    )
