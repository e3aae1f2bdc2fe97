"""From what an endpoint answers to an HTTP response."""

import asyncio
import gzip
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from homeserver.errors import MatrixError
from homeserver.web.answers import Answer, Download, Empty, JsonBytes, Page, Redirect
from homeserver.web.cors import Cors

JSON_TYPE: Final = "application/json"
_EMPTY_OBJECT: Final = b"{}"
# Compressing takes about 10 ms a megabyte at this level: beyond this size, in a thread.
_GZIP_LEVEL: Final = 1
_OFF_LOOP_BYTES: Final = 256 * 1024
_COMPRESSIBLE: Final = ("application/json", "text/")
_SERVER: Final = "homeserver"


class Responses:
    """Builds responses with the headers that all of them carry."""

    def __init__(self, cors: Cors, *, compress_over_bytes: int | None) -> None:
        """`compress_over_bytes`: None sends nothing compressed."""
        self._cors = cors
        self._compress_over = compress_over_bytes
        self._encode = msgspec.json.Encoder().encode
        # With one answer for every origin, these headers never change.
        self._fixed: Final = {"Server": _SERVER, **cors.headers(None)} if cors.allows_all else None

    async def of(self, answer: object, request: web.BaseRequest, request_id: str) -> web.Response:
        """Build the response to an answer that is no Download."""
        status, headers, body = self._parts(answer)
        common = self._common(request, request_id)
        if self._compress_over is not None and len(body) >= self._compress_over:
            body = await _compressed(body, headers, common, request)
        common.update(headers)
        return web.Response(status=status, headers=common, body=body)

    def download(
        self, download: Download, request: web.BaseRequest, request_id: str
    ) -> web.StreamResponse:
        """Build the headers of a download, whose body `send_download` sends."""
        headers = self._common(request, request_id)
        headers["Content-Type"] = download.content_type
        headers.update(download.headers)
        response = web.StreamResponse(status=download.status, headers=headers)
        if download.length is not None:
            response.content_length = download.length
        return response

    def refusal(
        self,
        refusal: MatrixError,
        request: web.BaseRequest,
        request_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Build a standard error response. Spec: client-server-api/#standard-error-response"""
        common = self._common(request, request_id)
        common["Content-Type"] = JSON_TYPE
        common.update(refusal.headers)
        common.update(headers or {})
        return web.Response(
            status=refusal.status, headers=common, body=self._encode(refusal.body())
        )

    def preflight(self, request: web.BaseRequest) -> web.Response:
        """Answer an OPTIONS request. Spec: client-server-api/#web-browser-clients"""
        headers = self._cors.preflight_headers(request.headers.get("Origin"))
        return web.Response(status=204, headers={"Server": _SERVER, **headers})

    def _parts(self, answer: object) -> tuple[int, Mapping[str, str], bytes]:
        match answer:
            case JsonBytes():
                return answer.status, _JSON_HEADERS, answer.data
            case Empty():
                return 200, _JSON_HEADERS, _EMPTY_OBJECT
            case Answer():
                return answer.status, answer.headers, answer.body
            case Page():
                return answer.status, _page_headers(answer), answer.html.encode()
            case Redirect():
                return answer.status, {**answer.headers, "Location": answer.location}, b""
            case _:
                return 200, _JSON_HEADERS, self._encode(answer)

    def _common(self, request: web.BaseRequest, request_id: str) -> dict[str, str]:
        fixed = self._fixed
        if fixed is None:
            fixed = {"Server": _SERVER, **self._cors.headers(request.headers.get("Origin"))}
        return {**fixed, "X-Request-ID": request_id}


_JSON_HEADERS: Final[Mapping[str, str]] = {"Content-Type": JSON_TYPE}


def _page_headers(page: Page) -> Mapping[str, str]:
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": page.policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        **page.headers,
    }


async def _compressed(
    body: bytes, headers: Mapping[str, str], common: dict[str, str], request: web.BaseRequest
) -> bytes:
    """Compress a body when it pays and the client can; says so in the common headers."""
    if not headers.get("Content-Type", "").startswith(_COMPRESSIBLE):
        return body
    varies = common.get("Vary")
    common["Vary"] = f"{varies}, Accept-Encoding" if varies else "Accept-Encoding"
    if "gzip" not in request.headers.get("Accept-Encoding", "").lower():
        return body
    common["Content-Encoding"] = "gzip"
    if len(body) < _OFF_LOOP_BYTES:
        return gzip.compress(body, _GZIP_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL, mtime=0)


async def send_download(
    download: Download, response: web.StreamResponse, request: web.BaseRequest
) -> None:
    """Send headers and body; closes the source, whether the client stays or leaves.

    An empty piece ends the body like the end of the source.
    """
    try:
        # A source that fails at once can still be answered with an ordinary refusal.
        chunk = b"" if request.method == "HEAD" else await anext(download.chunks, b"")
        await response.prepare(request)
        while chunk:
            await response.write(chunk)
            chunk = await anext(download.chunks, b"")
        await response.write_eof()
    finally:
        # Generators hold files and connections; other iterators have nothing to close.
        close = getattr(download.chunks, "aclose", None)
        if close is not None:
            await close()
