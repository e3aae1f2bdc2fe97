"""Uploading and downloading, with everything that HTTP has to say about it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tests.support.client import Client, Refusal

UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download"
OLD_DOWNLOAD = "/_matrix/media/v3/download"


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: Any
    body: bytes

    @property
    def errcode(self) -> str | None:
        """The code of a standard error response."""
        return json.loads(self.body)["errcode"]

    @property
    def refusal(self) -> tuple[int, str | None]:
        """Status and code of a standard error response."""
        return self.status, self.errcode


async def asks(
    client: Client,
    method: str,
    path: str,
    /,
    *,
    data: bytes | AsyncIterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
    **query: Any,
) -> Answer:
    """Send a request with a client's token and return whatever comes."""
    sent = dict(headers or {})
    if client.access_token is not None:
        sent["Authorization"] = f"Bearer {client.access_token}"
    pairs = urlencode(query)
    target = f"{client._url}{path}" + (f"?{pairs}" if pairs else "")
    async with client._session.request(
        method,
        URL(target, encoded=True),
        data=io.BytesIO(data) if isinstance(data, bytes) else data,
        headers=sent,
        allow_redirects=False,
        skip_auto_headers=("Content-Type",),
    ) as response:
        return Answer(response.status, response.headers, await response.read())


async def uploads(
    client: Client,
    content: bytes | AsyncIterator[bytes],
    content_type: str | None = "text/plain",
    **query: Any,
) -> str:
    """Upload and return the mxc:// URI."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await asks(client, "POST", UPLOAD, data=content, headers=headers, **query)
    decoded = json.loads(answer.body)
    if answer.status != 200:
        raise Refusal(answer.status, decoded)
    return decoded["content_uri"]


async def announces(client: Client) -> dict[str, Any]:
    """Make an mxc:// URI without content and return the answer."""
    answer = await asks(client, "POST", "/_matrix/media/v1/create")
    decoded = json.loads(answer.body)
    if answer.status != 200:
        raise Refusal(answer.status, decoded)
    return decoded


async def uploads_to(
    client: Client, uri: str, content: bytes, content_type: str = "text/plain", **query: Any
) -> Answer:
    """Upload to a URI that was made before."""
    headers = {"Content-Type": content_type}
    return await asks(
        client, "PUT", f"{UPLOAD}/{path_of(uri)}", data=content, headers=headers, **query
    )


async def downloads(
    client: Client, uri: str, *, name: str | None = None, old: bool = False, **more: Any
) -> Answer:
    """Download; `headers` go into the request, anything else into the query."""
    path = f"{OLD_DOWNLOAD if old else DOWNLOAD}/{path_of(uri)}"
    if name is not None:
        path += f"/{quote(name, safe='')}"
    return await asks(client, more.pop("method", "GET"), path, **more)


def path_of(uri: str) -> str:
    """Return `server/media ID`."""
    return uri.removeprefix("mxc://")


async def until(condition: Callable[[], bool]) -> None:
    """Return when something outside of this process's control has happened."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.005)


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield content in pieces, so that nobody knows its length beforehand."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def broken_off(content: bytes) -> AsyncIterator[bytes]:
    """Yield content and then fail, as when a phone loses its network."""
    yield content
    raise aiohttp.ClientPayloadError("gone")
