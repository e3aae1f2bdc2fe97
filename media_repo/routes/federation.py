"""Giving media to other servers. Spec: server-server-api/#content-repository"""

from homeserver.errors import NotFound
from homeserver.protocol.content_uri import ContentUri, MediaID
from homeserver.protocol.identifiers import ServerName
from homeserver.web.answers import Content, Download
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import FEDERATION_V1
from media_repo.library import DEFAULT_TIMEOUT_MS, Library, Wanted
from media_repo.multipart import multipart_of, multipart_redirect
from media_repo.serving import Serving


class OwnMediaPath(Params, frozen=True):
    """A content of this server."""

    media_id: MediaID


class OwnMediaQuery(Query, frozen=True):
    """How long to wait for an upload."""

    timeout_ms: int = DEFAULT_TIMEOUT_MS


class FederationMediaRoutes:
    """`GET /_matrix/federation/v1/media/download/{mediaId}`."""

    def __init__(self, own_name: ServerName, library: Library, serving: Serving) -> None:
        self._own_name = own_name
        self._library = library
        self._serving = serving

    @endpoint(
        "GET",
        FEDERATION_V1 / "media/download/{media_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1mediadownloadmediaid",
    )
    async def get_media(
        self, origin: ServerName, path: OwnMediaPath, query: OwnMediaQuery
    ) -> Download:
        """Download content from the content repository."""
        wanted = Wanted(timeout_ms=query.timeout_ms, allow_remote=False)
        media = await self._library.find(ContentUri(self._own_name, path.media_id), wanted)
        url = await self._serving.redirect(media)
        if url is not None:
            return multipart_redirect(url)
        answer = self._serving.answer(media)
        if not isinstance(answer, Content):
            raise NotFound
        return multipart_of(answer)
