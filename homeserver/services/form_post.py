"""Sending forms to services that the configuration names."""

from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from homeserver.errors import RemoteError
from homeserver.protocol.json_types import JsonValue

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_MAX_ANSWER_BYTES: Final = 64 * 1024


class FormPost:
    """Posts forms with an HTTP client that is handed in; follows no redirect."""

    def __init__(
        self,
        client: aiohttp.ClientSession,  # noqa: TID251 - this is the one that is handed in
    ) -> None:
        self._client = client

    async def post_form(self, url: str, fields: Mapping[str, str]) -> JsonValue:
        """Send a form and return the decoded JSON of the answer. Raises RemoteError."""
        try:
            async with self._client.post(
                url, data=dict(fields), timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise RemoteError(url, "no success", status=response.status)
                answer = await _read(url, response.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RemoteError(url, type(error).__name__) from error
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteError(url, "the answer is not JSON") from error


async def _read(url: str, content: aiohttp.StreamReader) -> bytes:
    answer = bytearray()
    async for chunk in content.iter_any():
        answer += chunk
        if len(answer) > _MAX_ANSWER_BYTES:
            raise RemoteError(url, "the answer is too large")
    return bytes(answer)
