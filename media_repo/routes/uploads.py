"""Uploading, at once or later. Spec: client-server-api/#content-repository"""

from typing import Annotated

import msgspec

from homeserver.protocol.content_uri import ContentUri, MediaID
from homeserver.protocol.identifiers import ServerName
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query, Upload
from homeserver.web.paths import CLIENT_V1, MEDIA_V1, MEDIA_V3
from homeserver.web.requester import Requester
from media_repo.uploads import MediaFacts, Uploads

_MAX_FILENAME = 255


class UploadQuery(Query, frozen=True):
    """What the upload is called."""

    filename: Annotated[str, msgspec.Meta(max_length=_MAX_FILENAME)] | None = None


class MediaPath(Params, frozen=True):
    """The two halves of an `mxc://` URI."""

    server_name: ServerName
    media_id: MediaID


class ContentUriAnswer(msgspec.Struct, frozen=True):
    """The URI of an upload."""

    content_uri: str


class AnnouncedAnswer(msgspec.Struct, frozen=True):
    """The URI of content that is to come, and until when, in ms since 1970."""

    content_uri: str
    unused_expires_at: int


class MediaConfig(msgspec.Struct, frozen=True):
    """What clients should know before they upload."""

    max_upload_bytes: int = msgspec.field(name="m.upload.size")


class UploadRoutes:
    """`POST /upload`, `POST /create`, `PUT /upload/…`, `GET /config`."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    @endpoint(
        "POST",
        MEDIA_V3 / "upload",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MEDIA,
        while_suspended=False,
        spec="client-server-api/#post_matrixmediav3upload",
    )
    async def post_upload(
        self, requester: Requester, query: UploadQuery, upload: Upload
    ) -> ContentUriAnswer:
        """Upload some content to the content repository."""
        uri = await self._uploads.upload(
            requester.user_id,
            upload.chunks(),
            upload.content_length,
            _facts(requester, query, upload),
        )
        return ContentUriAnswer(str(uri))

    @endpoint(
        "POST",
        MEDIA_V1 / "create",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MEDIA,
        while_suspended=False,
        spec="client-server-api/#post_matrixmediav1create",
    )
    async def post_create(self, requester: Requester) -> AnnouncedAnswer:
        """Create a new mxc:// URI without uploading the content."""
        announced = await self._uploads.announce(requester.user_id)
        return AnnouncedAnswer(str(announced.uri), announced.expires_ts)

    @endpoint(
        "PUT",
        MEDIA_V3 / "upload/{server_name}/{media_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MEDIA,
        while_suspended=False,
        spec="client-server-api/#put_matrixmediav3uploadservernamemediaid",
    )
    async def put_upload(
        self, requester: Requester, path: MediaPath, query: UploadQuery, upload: Upload
    ) -> Empty:
        """Upload content to an mxc:// URI that was created earlier."""
        await self._uploads.upload_to(
            ContentUri(path.server_name, path.media_id),
            requester.user_id,
            upload.chunks(),
            upload.content_length,
            _facts(requester, query, upload),
        )
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V1 / "media/config",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        spec="client-server-api/#get_matrixclientv1mediaconfig",
    )
    async def get_config(self, requester: Requester) -> MediaConfig:
        """Get the configuration for the content repository."""
        return MediaConfig(self._uploads.max_bytes)

    @endpoint(
        "GET",
        MEDIA_V3 / "config",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        deprecated=True,
        spec="client-server-api/#get_matrixmediav3config",
    )
    async def get_config_by_old_path(self, requester: Requester) -> MediaConfig:
        """Get the configuration for the content repository, by its deprecated path."""
        return MediaConfig(self._uploads.max_bytes)


def _facts(requester: Requester, query: UploadQuery, upload: Upload) -> MediaFacts:
    return MediaFacts(
        content_type=upload.content_type,
        filename=query.filename,
        uploader=requester.user_id,
    )
