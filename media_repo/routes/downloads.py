"""Downloading, with an access token or by the deprecated paths without one.

Spec: client-server-api/#content-repository
"""

from homeserver.protocol.content_uri import ContentUri, MediaID
from homeserver.protocol.identifiers import ServerName
from homeserver.web.answers import Content, Download, Redirect
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import CLIENT_V1, MEDIA_V3
from homeserver.web.requester import Requester
from media_repo.headers import PRIVATE_CACHING, PUBLIC_CACHING
from media_repo.library import DEFAULT_TIMEOUT_MS, Library, Wanted
from media_repo.serving import Serving, redirect_to


class DownloadPath(Params, frozen=True):
    """The two halves of an `mxc://` URI."""

    server_name: ServerName
    media_id: MediaID


class NamedDownloadPath(Params, frozen=True):
    """The same, and what the file is to be called."""

    server_name: ServerName
    media_id: MediaID
    file_name: str


class DownloadQuery(Query, frozen=True):
    """How long to wait for an upload."""

    timeout_ms: int = DEFAULT_TIMEOUT_MS


class OldDownloadQuery(Query, frozen=True):
    """What the deprecated paths take besides."""

    timeout_ms: int = DEFAULT_TIMEOUT_MS
    allow_remote: bool = True
    allow_redirect: bool = False


class DownloadRoutes:
    """`GET /media/download/…`."""

    def __init__(self, library: Library, serving: Serving) -> None:
        self._library = library
        self._serving = serving

    @endpoint(
        "GET",
        CLIENT_V1 / "media/download/{server_name}/{media_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        spec="client-server-api/#get_matrixclientv1mediadownloadservernamemediaid",
    )
    async def get_content(
        self, requester: Requester, path: DownloadPath, query: DownloadQuery
    ) -> Content | Download | Redirect:
        """Download content from the content repository."""
        return await self._download(path.server_name, path.media_id, None, query)

    @endpoint(
        "GET",
        CLIENT_V1 / "media/download/{server_name}/{media_id}/{file_name}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        spec="client-server-api/#get_matrixclientv1mediadownloadservernamemediaidfilename",
    )
    async def get_content_under_name(
        self, requester: Requester, path: NamedDownloadPath, query: DownloadQuery
    ) -> Content | Download | Redirect:
        """Download content from the content repository overriding the file name."""
        return await self._download(path.server_name, path.media_id, path.file_name, query)

    @endpoint(
        "GET",
        MEDIA_V3 / "download/{server_name}/{media_id}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        deprecated=True,
        spec="client-server-api/#get_matrixmediav3downloadservernamemediaid",
    )
    async def get_content_by_old_path(
        self, path: DownloadPath, query: OldDownloadQuery
    ) -> Content | Download | Redirect:
        """Download content from the content repository without an access token."""
        return await self._download_openly(path.server_name, path.media_id, None, query)

    @endpoint(
        "GET",
        MEDIA_V3 / "download/{server_name}/{media_id}/{file_name}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        deprecated=True,
        spec="client-server-api/#get_matrixmediav3downloadservernamemediaidfilename",
    )
    async def get_content_under_name_by_old_path(
        self, path: NamedDownloadPath, query: OldDownloadQuery
    ) -> Content | Download | Redirect:
        """Download content under a file name of one's choice without an access token."""
        return await self._download_openly(path.server_name, path.media_id, path.file_name, query)

    async def _download(
        self, server_name: ServerName, media_id: MediaID, name: str | None, query: DownloadQuery
    ) -> Content | Download | Redirect:
        uri = ContentUri(server_name, media_id)
        opened = await self._library.open(uri, Wanted(timeout_ms=query.timeout_ms))
        url = await self._serving.redirect(opened)
        if url is not None:
            return redirect_to(url)
        return self._serving.answer(opened, name, caching=PRIVATE_CACHING)

    async def _download_openly(
        self, server_name: ServerName, media_id: MediaID, name: str | None, query: OldDownloadQuery
    ) -> Content | Download | Redirect:
        wanted = Wanted(
            timeout_ms=query.timeout_ms,
            allow_remote=query.allow_remote,
            is_unauthenticated=True,
        )
        opened = await self._library.open(ContentUri(server_name, media_id), wanted)
        url = await self._serving.redirect(opened) if query.allow_redirect else None
        if url is not None:
            return redirect_to(url)
        return self._serving.answer(opened, name, caching=PUBLIC_CACHING)
