"""The document by which a domain names the server that speaks for it, fetched and remembered.

Spec: server-server-api/#getwell-knownmatrixserver
"""

import asyncio
import email.utils
from collections import OrderedDict
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from federation.transport.connections import Connections, Route
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidIdentifier, InvalidJson
from homeserver.protocol.identifiers import ServerName, parse_server_name
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

_PATH: Final = "/.well-known/matrix/server"
_HTTPS_PORT: Final = 443
# Redirects included: whoever waits for a message should not wait for a dead web server.
_TIMEOUT_SECONDS: Final = 10.0
_MAX_REDIRECTS: Final = 5
_MAX_BYTES: Final = 50 * 1024
_MAX_REMEMBERED: Final = 20_000

# server-server-api/#resolving-server-names: "The recommended sensible default is 24 hours",
# "a maximum cache time for responses: 48 hours is recommended", "Errors are recommended to be
# cached for up to an hour".
_DEFAULT_MS: Final = 24 * 60 * 60 * 1000
_MAX_MS: Final = 48 * 60 * 60 * 1000
_MAX_ERROR_MS: Final = 60 * 60 * 1000
# Documents that say "do not cache" would be fetched for every transaction.
_MIN_MS: Final = 5 * 60 * 1000
_FIRST_ERROR_MS: Final = 60 * 1000


class _Found(msgspec.Struct, frozen=True):
    """A valid document."""

    server: ServerName
    lifetime_ms: int


class _Remembered(msgspec.Struct, frozen=True):
    """What is known of a host, until `expires_ts`."""

    server: ServerName | None
    expires_ts: int
    # Of the document that `server` is from.
    fetched_ts: int
    failures: int = 0


class _NoAnswer(Exception):
    """The web server could not be asked, or is out of order: that says nothing of the domain."""


class WellKnown:
    """Knows to which server a host delegates."""

    def __init__(self, connections: Connections, clock: Clock, tasks: Tasks) -> None:
        self._connections = connections
        self._clock = clock
        self._tasks = tasks
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def delegated(self, host: str) -> ServerName | None:
        """Return the server that a host (no IP literal, no port) names; None: it names none."""
        remembered = self._valid(host)
        if remembered is None:
            # Who waits may give up; what comes out is remembered all the same.
            await asyncio.wait([self._asking.get(host) or self._begin_to_ask(host)])
            remembered = self._remembered.get(host)
        return None if remembered is None else remembered.server

    def _begin_to_ask(self, host: str) -> "asyncio.Task[None]":
        task = self._tasks.spawn("fetch well-known", self._ask(host))
        self._asking[host] = task
        task.add_done_callback(lambda _: self._asking.pop(host, None))
        return task

    def _valid(self, host: str) -> _Remembered | None:
        remembered = self._remembered.get(host)
        if remembered is None or remembered.expires_ts <= self._clock.now_ms():
            return None
        self._remembered.move_to_end(host)
        return remembered

    async def _ask(self, host: str) -> None:
        before = self._remembered.get(host)
        now_ms = self._clock.now_ms()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                found = await self._fetch(host, now_ms)
        except (_NoAnswer, TimeoutError) as error:
            log.info("well-known document not fetched", server=host, reason=str(error))
            remembered = _after_silence(before, now_ms)
        else:
            remembered = (
                _Remembered(None, now_ms + _MAX_ERROR_MS, now_ms)
                if found is None
                else _Remembered(found.server, now_ms + found.lifetime_ms, now_ms)
            )
        self._remembered[host] = remembered
        self._remembered.move_to_end(host)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _fetch(self, host: str, now_ms: int) -> _Found | None:
        """Return the document; None: the host has none that is valid. Raises _NoAnswer."""
        url = URL(f"https://{host}{_PATH}")
        seen: set[URL] = set()
        while url not in seen and len(seen) <= _MAX_REDIRECTS:
            seen.add(url)
            try:
                async with self._connections.request(
                    "GET", _route_to(url), url.raw_path_qs, timeout_ms=int(_TIMEOUT_SECONDS * 1000)
                ) as response:
                    if response.status // 100 != 3:
                        return await _read(response, now_ms)
                    location = response.headers.get("Location", "")
            except (aiohttp.ClientError, OSError) as error:
                raise _NoAnswer(str(error) or type(error).__name__) from error
            try:
                url = url.join(URL(location)).with_fragment(None)
            except ValueError:
                return None
            if url.scheme != "https" or not url.host:
                return None
        return None


def _route_to(url: URL) -> Route:
    host = url.host or ""
    port = url.port or _HTTPS_PORT
    return Route(host, port, url.raw_authority.rpartition("@")[2], host)


async def _read(response: aiohttp.ClientResponse, now_ms: int) -> _Found | None:
    """Read a document. Raises _NoAnswer: the web server is out of order, or busy."""
    if response.status >= 500 or response.status == 429:
        raise _NoAnswer(f"status {response.status}")
    if response.status != 200:
        return None
    body = await _read_bytes(response)
    if body is None:
        return None
    try:
        document = decode_json(body)
        named = document.get("m.server") if isinstance(document, dict) else None
        server = parse_server_name(named) if isinstance(named, str) else None
    except (InvalidJson, InvalidIdentifier):
        return None
    return None if server is None else _Found(server, _lifetime_ms(response, now_ms))


async def _read_bytes(response: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _MAX_BYTES:
            return None
    return bytes(body)


def _lifetime_ms(response: aiohttp.ClientResponse, now_ms: int) -> int:
    """Obey the cache control headers, within limits. Spec: RFC 9111 section 4.2.1."""
    lifetime_ms = _DEFAULT_MS
    expires = email.utils.parsedate_tz(response.headers.get("Expires", ""))
    if expires is not None:
        lifetime_ms = email.utils.mktime_tz(expires) * 1000 - now_ms
    directives = ",".join(response.headers.getall("Cache-Control", ()))
    for directive in directives.lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in ("no-store", "no-cache"):
            return _MIN_MS
        seconds = value.strip('"')
        if name == "max-age" and seconds.isascii() and seconds.isdigit():
            # Ten digits of seconds are three centuries.
            lifetime_ms = int(seconds[:10]) * 1000
    return min(max(lifetime_ms, _MIN_MS), _MAX_MS)


def _after_silence(before: _Remembered | None, now_ms: int) -> _Remembered:
    """Remember a failure, for twice as long each time; what was valid serves for 48 hours."""
    failures = 1 if before is None else before.failures + 1
    wait_ms = min(_FIRST_ERROR_MS << min(failures - 1, 10), _MAX_ERROR_MS)
    if before is not None and before.server and before.fetched_ts + _MAX_MS > now_ms:
        return _Remembered(before.server, now_ms + wait_ms, before.fetched_ts, failures)
    return _Remembered(None, now_ms + wait_ms, now_ms, failures)
