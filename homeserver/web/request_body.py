"""Reading bodies: whole with a limit in bytes and time, or piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from homeserver.errors import MatrixError, NotJson, TooLarge

# A JSON body is small: who needs longer than this is stalling, or on a line that is dead.
BODY_SECONDS: Final = 60.0
# The longest silence in an upload, which may take long as a whole.
CHUNK_SECONDS: Final = 30.0


def _no_matter(_count: int) -> None:
    pass


async def read_body(
    request: web.BaseRequest, limit_bytes: int, hold: Callable[[int], None] = _no_matter
) -> bytes:
    """Return the whole body, decompressed.

    `hold` is told each number of bytes that has come, and may raise. Raises TooLarge, NotJson for
    a body that breaks off or does not decompress, MatrixError 408 for one that does not arrive in
    time.
    """
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    content = request.content
    try:
        # Nearly always the body came with the headers: no timer, no waiting.
        if content.is_eof():
            body: bytes = content.read_nowait(-1)
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
            hold(len(body))
            return body
        await _invite(request)
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(request, limit_bytes, hold)
    except TimeoutError as error:
        raise _timed_out() from error
    except RequestPayloadError as error:
        raise NotJson("The body cannot be read") from error


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client to go on that waits for it with a large body, as curl does for a second."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _collect(
    request: web.BaseRequest, limit_bytes: int, hold: Callable[[int], None]
) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        hold(len(chunk))
        body += chunk
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(body)


class StreamedUpload:
    """The body of a request as an Upload."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    @property
    def content_type(self) -> str:
        """The `Content-Type` header as it came; `application/octet-stream` when absent."""
        return self._request.headers.get("Content-Type", "application/octet-stream")

    @property
    def content_length(self) -> int | None:
        """The announced size in bytes."""
        return self._request.content_length

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces, once. Raises MatrixError 400 or 408."""
        content = self._request.content
        await _invite(self._request)
        try:
            while True:
                # What has come already needs no timer.
                chunk = content.read_nowait(-1)
                if not chunk:
                    async with asyncio.timeout(CHUNK_SECONDS):
                        chunk = await content.readany()
                if not chunk:
                    return
                yield chunk
        except TimeoutError as error:
            raise _timed_out() from error
        except RequestPayloadError as error:
            raise MatrixError(400, "M_UNKNOWN", "The upload broke off") from error


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit_bytes} bytes")


def _timed_out() -> MatrixError:
    return MatrixError(408, "M_UNKNOWN", "The body did not arrive in time")
