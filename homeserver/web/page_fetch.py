"""Reading pages that users name: every redirect and every address is checked.

The connection is made to the address that was checked, so that a name which changes its address
in between gains nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final, TypeAlias

import aiohttp
import msgspec
from aiohttp import ClientSession  # noqa: TID251 - this is the client that is handed in
from aiohttp.abc import AbstractResolver
from yarl import URL

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.errors import RemoteError
from homeserver.web.outgoing_http import AddressRules, guarded_connector

# Raises RemoteError or MatrixError: the URL may not be fetched.
UrlCheck: TypeAlias = Callable[[URL], None]

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_CONNECT_SECONDS: Final = 5
_CONNECTIONS_TO_ONE: Final = 4
_PIECE_BYTES: Final = 64 * 1024
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


class FetchLimits(msgspec.Struct, frozen=True):
    """How long everything may take, redirects included, and how much is read at most."""

    seconds: float
    max_bytes: int


class FetchedPage:
    """An answer whose body has not been read yet."""

    def __init__(self, response: aiohttp.ClientResponse, url: URL, max_bytes: int) -> None:
        """`url` is the last of the redirects."""
        self.url: Final = url
        self.status: Final = response.status
        self.content_type: Final = response.content_type.lower()
        self.charset: Final = response.charset
        self._response = response
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, once. Raises RemoteError: it breaks off, or is larger than permitted."""
        read = 0
        announced = self._response.content_length
        if announced is not None and announced > self._max_bytes:
            raise self._too_large()
        async for chunk in self._pieces():
            read += len(chunk)
            if read > self._max_bytes:
                raise self._too_large()
            yield chunk

    async def beginning(self, count: int) -> bytes:
        """Read up to `count` bytes and no more. Raises RemoteError: it breaks off before."""
        body = bytearray()
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= count:
                    break
        return bytes(body[:count])

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        # What is compressed comes here unpacked, in pieces of a bounded size.
        try:
            async for piece in self._response.content.iter_chunked(_PIECE_BYTES):
                yield piece
        except _FAILURES as error:
            raise _unreachable(self.url, error) from error

    def _too_large(self) -> RemoteError:
        return RemoteError(self.url.host or "", "the content is too large")


class PageFetch:
    """Fetches what is on the web, for anybody who names it."""

    def __init__(
        self, settings: OutgoingHttpSection, *, resolver: AbstractResolver | None = None
    ) -> None:
        """`resolver` finds the addresses of names; None asks the system."""
        self._rules = AddressRules(settings.allowed_ip_ranges, settings.blocked_ip_ranges)
        self._verify_tls = settings.verify_tls
        self._resolver = resolver
        self._session: ClientSession | None = None

    @contextlib.asynccontextmanager
    async def get(
        self, url: URL, *, headers: Mapping[str, str], check: UrlCheck, limits: FetchLimits
    ) -> AsyncIterator[FetchedPage]:
        """Send a GET request and follow redirects; each URL is given to `check` first.

        Entering and reading raise RemoteError: nothing answers in time, or whatever answers may
        not be contacted; which of them it is, is not told. `limits.seconds` is for the whole
        block.
        """
        try:
            async with asyncio.timeout(limits.seconds), contextlib.AsyncExitStack() as stack:
                response, url = await self._follow(url, headers, check, stack)
                yield FetchedPage(response, url, limits.max_bytes)
        except TimeoutError as error:
            raise _unreachable(url, error) from error

    async def _follow(
        self,
        url: URL,
        headers: Mapping[str, str],
        check: UrlCheck,
        stack: contextlib.AsyncExitStack,
    ) -> tuple[aiohttp.ClientResponse, URL]:
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                check(url)
                response = await stack.enter_async_context(
                    self._client().get(url, headers=headers, allow_redirects=False)
                )
                target = _redirect_of(response, url)
                if target is None:
                    return response, url
                response.close()
                url = target
        except _FAILURES as error:
            raise _unreachable(url, error) from error
        raise RemoteError(url.host or "", "too many redirects")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> ClientSession:
        if self._session is None:
            connector = guarded_connector(
                self._rules,
                verify_tls=self._verify_tls,
                resolver=self._resolver,
                limit_per_host=_CONNECTIONS_TO_ONE,
            )
            self._session = ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                # Two users must not meet in a cookie.
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _redirect_of(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Return where an answer leads on. Raises ValueError: to no URL."""
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or not location:
        return None
    return url.join(URL(location))


def _unreachable(url: URL, error: BaseException) -> RemoteError:
    return RemoteError(url.host or "", str(error) or type(error).__name__)
