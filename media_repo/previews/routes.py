"""URL previews. Spec: client-server-api/#content-repository"""

from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query, RequestFacts
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1, MEDIA_V3
from homeserver.web.requester import Requester
from media_repo.previews.preview import UrlPreviews


class PreviewQuery(Query, frozen=True, kw_only=True):
    """A URL, and as of when; `ts` in milliseconds since 1970."""

    url: str
    ts: int | None = None


class PreviewRoutes:
    """`GET /preview_url`."""

    def __init__(self, previews: UrlPreviews) -> None:
        self._previews = previews

    @endpoint(
        "GET",
        CLIENT_V1 / "media/preview_url",
        also=(CLIENT_UNSTABLE / "org.matrix.msc3916/media/preview_url",),
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MEDIA,
        spec="client-server-api/#get_matrixclientv1mediapreview_url",
    )
    async def get_preview(
        self, requester: Requester, query: PreviewQuery, request: RequestFacts
    ) -> JsonBytes:
        """Get information about a URL, for a preview of it."""
        return await self._preview(query, request)

    @endpoint(
        "GET",
        MEDIA_V3 / "preview_url",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MEDIA,
        deprecated=True,
        spec="client-server-api/#get_matrixmediav3preview_url",
    )
    async def get_preview_unversioned(
        self, requester: Requester, query: PreviewQuery, request: RequestFacts
    ) -> JsonBytes:
        """Get information about a URL, for a preview of it, at the old path."""
        return await self._preview(query, request)

    async def _preview(self, query: PreviewQuery, request: RequestFacts) -> JsonBytes:
        return JsonBytes(
            await self._previews.of(query.url, ts=query.ts, accept_language=request.accept_language)
        )
