"""Reading what other servers answer, never more of it than is wanted."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from federation.transport.failures import RemoteBadAnswer, RemoteRefusal, RemoteUnreachable
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonObject, JsonValue

# A standard error response is some hundred bytes.
_MAX_ERROR_BYTES: Final = 64 * 1024
# Who asks to be left alone for longer than a day is taken at its word for a day.
_MAX_RETRY_AFTER_MS: Final = 24 * 60 * 60 * 1000


class RemoteStream:
    """The body of an answer, read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, server: str, max_bytes: int) -> None:
        self._response = response
        self._server = server
        self._max_bytes = max_bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names in any case."""
        return self._response.headers

    @property
    def content_type(self) -> str:
        """The `Content-Type` header with its parameters, `application/octet-stream` if absent."""
        return self._response.headers.get("Content-Type", "application/octet-stream")

    @property
    def content_length(self) -> int | None:
        """The announced size in bytes; nobody need keep to it."""
        return self._response.content_length

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces, once. Raises RemoteBadAnswer: too large; RemoteUnreachable."""
        async for piece in _pieces(self._response, self._server, self._max_bytes):
            yield piece


async def read_answer(response: aiohttp.ClientResponse, server: str, max_bytes: int) -> JsonObject:
    """Return the JSON object that an answer holds. Raises RemoteError.

    Version 1 of some operations answers `[200, {…}]`: of that, the object.
    """
    await require_success(response, server)
    try:
        value = decode_json(await _read(response, server, max_bytes))
    except InvalidJson as error:
        raise RemoteBadAnswer(server, str(error), status=response.status) from None
    match value:
        case dict():
            return value
        case [int(), dict() as wrapped]:
            return wrapped
    raise RemoteBadAnswer(server, "no JSON object", status=response.status)


async def require_success(response: aiohttp.ClientResponse, server: str) -> None:
    """Raise RemoteRefusal for an error response, RemoteBadAnswer for a redirect."""
    kind = response.status // 100
    if kind == 2:
        return
    if kind < 4:
        raise RemoteBadAnswer(server, "redirects, or no final answer", status=response.status)
    answer = await _read_error(response, server)
    raise RemoteRefusal(server, response.status, answer, _retry_after_ms(response, answer))


async def _read_error(response: aiohttp.ClientResponse, server: str) -> JsonObject:
    try:
        value: JsonValue = decode_json(await _read(response, server, _MAX_ERROR_BYTES))
    except (InvalidJson, RemoteBadAnswer, RemoteUnreachable):
        # A page of a proxy, most likely; the status says enough.
        return {}
    return value if isinstance(value, dict) else {}


async def _read(response: aiohttp.ClientResponse, server: str, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in _pieces(response, server, max_bytes):
        body += piece
    return bytes(body)


async def _pieces(
    response: aiohttp.ClientResponse, server: str, max_bytes: int
) -> AsyncIterator[bytes]:
    """Yield the body, decompressed; the limit counts what comes out."""
    if (response.content_length or 0) > max_bytes:
        raise RemoteBadAnswer(server, "the answer is too large", status=response.status)
    count = 0
    try:
        async for piece in response.content.iter_any():
            count += len(piece)
            if count > max_bytes:
                raise RemoteBadAnswer(server, "the answer is too large", status=response.status)
            yield piece
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise RemoteUnreachable(server, str(error) or type(error).__name__) from error


def _retry_after_ms(response: aiohttp.ClientResponse, answer: JsonObject) -> int | None:
    """Read how long the server wants to be left alone. Spec: client-server-api/#rate-limiting"""
    seconds = response.headers.get("Retry-After", "")
    if seconds.isascii() and seconds.isdigit() and len(seconds) < 10:
        return min(int(seconds) * 1000, _MAX_RETRY_AFTER_MS)
    told = answer.get("retry_after_ms")
    if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
        return min(told, _MAX_RETRY_AFTER_MS)
    return None
