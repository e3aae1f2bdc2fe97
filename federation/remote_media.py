"""Media of other servers, over the federation API or, from old ones, by the old paths.

Spec: server-server-api/#content-repository
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from federation.multipart_mixed import MultipartMixed
from federation.transport.client import FederationClient, RemoteStream, path_of
from federation.transport.failures import RemoteBadAnswer, RemoteRefusal
from homeserver.errors import RemoteError
from homeserver.ports import RemoteContent, ThumbnailWish
from homeserver.protocol.identifiers import ServerName
from homeserver.web.paths import FEDERATION_V1, MEDIA_V3

# What a multipart answer has besides the content.
_ENVELOPE_BYTES: Final = 64 * 1024
# Beyond the time that the other server may wait for an upload: for the content itself.
_TRANSFER_MS: Final = 600_000


class _StreamedContent:
    """A body that is the content, headers and all."""

    def __init__(self, stream: RemoteStream) -> None:
        self._stream = stream

    @property
    def content_type(self) -> str:
        """The `Content-Type` header; `application/octet-stream` when absent."""
        return self._stream.content_type

    @property
    def content_disposition(self) -> str | None:
        """The `Content-Disposition` header."""
        return self._stream.headers.get("Content-Disposition")

    @property
    def content_length(self) -> int | None:
        """The announced size in bytes."""
        return self._stream.content_length

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content, once. Raises RemoteError."""
        return self._stream.chunks()


class FederatedMedia:
    """The port `RemoteMedia`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    @contextlib.asynccontextmanager
    async def content(
        self,
        server: ServerName,
        media_id: str,
        *,
        thumbnail: ThumbnailWish | None = None,
        timeout_ms: int,
        max_bytes: int,
    ) -> AsyncIterator[RemoteContent]:
        """Open a content of the server's own, or a thumbnail of it. Raises RemoteError."""
        operation = "download" if thumbnail is None else "thumbnail"
        query = _query_of(thumbnail, timeout_ms)
        async with contextlib.AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(
                    self._client.stream(
                        server,
                        path_of(FEDERATION_V1, "media", operation, media_id),
                        query=query,
                        timeout_ms=timeout_ms + _TRANSFER_MS,
                        max_bytes=max_bytes + _ENVELOPE_BYTES,
                    )
                )
            except RemoteRefusal as refusal:
                if not _is_too_old(refusal):
                    raise
                path = path_of(MEDIA_V3, operation, server, media_id)
                # The other server must not come back to us, or ask a third one.
                old_query = {**query, "allow_remote": "false", "allow_redirect": "true"}
                stream = await stack.enter_async_context(
                    self._client.stream(
                        server,
                        path,
                        query=old_query,
                        timeout_ms=timeout_ms + _TRANSFER_MS,
                        max_bytes=max_bytes,
                        follow_redirect=True,
                    )
                )
                yield _StreamedContent(stream)
                return
            yield await self._second_part(server, stream, stack, max_bytes)

    async def _second_part(
        self,
        server: ServerName,
        stream: RemoteStream,
        stack: contextlib.AsyncExitStack,
        max_bytes: int,
    ) -> RemoteContent:
        """Return the content of a multipart answer, or what it sends us to."""

        def refuse(reason: str) -> RemoteError:
            return RemoteBadAnswer(server, reason)

        parts = MultipartMixed(stream.content_type, stream.chunks(), refuse)
        await parts.skip_part()
        headers = await parts.next_part()
        location = headers.get("location")
        if location is None:
            return _PartContent(headers, parts)
        redirected = await stack.enter_async_context(
            self._client.open_url(location, timeout_ms=_TRANSFER_MS, max_bytes=max_bytes)
        )
        return _StreamedContent(redirected)


class _PartContent:
    """The second part of a multipart answer."""

    def __init__(self, headers: dict[str, str], parts: MultipartMixed) -> None:
        self._headers = headers
        self._parts = parts

    @property
    def content_type(self) -> str:
        """The part's `Content-Type` header; `application/octet-stream` when absent."""
        return self._headers.get("content-type", "application/octet-stream")

    @property
    def content_disposition(self) -> str | None:
        """The part's `Content-Disposition` header."""
        return self._headers.get("content-disposition")

    @property
    def content_length(self) -> int | None:
        """Parts do not say how long they are."""
        return None

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content, once. Raises RemoteError."""
        return self._parts.body()


def _query_of(thumbnail: ThumbnailWish | None, timeout_ms: int) -> dict[str, str]:
    query = {"timeout_ms": str(timeout_ms)}
    if thumbnail is not None:
        query["width"] = str(thumbnail.width)
        query["height"] = str(thumbnail.height)
        query["method"] = thumbnail.method
        if thumbnail.animated is not None:
            query["animated"] = "true" if thumbnail.animated else "false"
    return query


def _is_too_old(refusal: RemoteRefusal) -> bool:
    """Whether a server does not know the operation (or a proxy before it), as before v1.11."""
    if refusal.errcode == "M_UNRECOGNIZED":
        return True
    return refusal.errcode is None and refusal.status in (404, 405)
