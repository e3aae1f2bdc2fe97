"""Requests to other servers, signed, bounded, and never to those that are left alone.

    answer = await client.get(server, path_of(FEDERATION_V1, "state", room_id),
                              query={"event_id": event_id}, max_bytes=64 * MIB)
    answer = await client.put(server, path_of(FEDERATION_V1, "send", txn_id), body=transaction)
    answer = await client.post(server, path_of(FEDERATION_V1, "user", "keys", "query"), body={…})
    async with client.stream(server, path_of(FEDERATION_V1, "media", "download", media_id)) as it:
        async for piece in it.chunks(): …
    async with client.open_url(location) as it: …        # where media redirects to; not signed

All of them raise variants of RemoteError (`transport/failures.py`) and nothing else:
RemoteNotAllowed and RemoteBackingOff before anything is sent, RemoteUnreachable, RemoteBadAnswer,
RemoteRefusal with `status`, `errcode`, `answer` for an error response. Unreachable servers, 5xx
and 429 make the server be left alone (`transport/destinations.py`); any other answer ends that.
`ignore_backoff=True` tries all the same: for who has a reason to think that the server is there.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from federation.policy import FederationPolicy
from federation.transport.answers import RemoteStream, read_answer, require_success
from federation.transport.connections import Connections, Route
from federation.transport.destinations import Destinations
from federation.transport.failures import (
    RemoteBackingOff,
    RemoteBadAnswer,
    RemoteNotAllowed,
    RemoteRefusal,
    RemoteUnreachable,
)
from federation.transport.requests import OutgoingRequest, Query, path_of
from federation.transport.server_names import ServerNames
from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import SigningKey
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.trace import Tracer

__all__ = ["MIB", "FederationClient", "Query", "RemoteStream", "path_of"]

MIB: Final = 1024 * 1024
# Enough for everything but states, histories and media, whose callers say more.
DEFAULT_MAX_BYTES: Final = 8 * MIB
DEFAULT_TIMEOUT_MS: Final = 30_000
# From the first byte to the last; a silence ends a stream much earlier.
STREAM_TIMEOUT_MS: Final = 600_000
STREAM_MAX_BYTES: Final = 1024 * MIB
_HTTPS_PORT: Final = 443
# Printable ASCII, and no longer than request lines are.
_URL: Final = re.compile(r"[\x21-\x7e]{1,4096}")


class FederationClient:
    """Asks other servers."""

    def __init__(
        self,
        *,
        own_name: ServerName,
        signing_key: SigningKey,
        policy: FederationPolicy,
        destinations: Destinations,
        server_names: ServerNames,
        connections: Connections,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._own_name = own_name
        self._key = signing_key
        self._policy = policy
        self._destinations = destinations
        self._server_names = server_names
        self._connections = connections
        self._clock = clock
        self._seconds = metrics.outgoing_seconds
        self._tracer = tracer

    async def get(
        self,
        destination: ServerName,
        path: str,
        *,
        query: Query | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
    ) -> JsonObject:
        """Return the JSON object that a GET answers. Raises RemoteError."""
        request = OutgoingRequest("GET", destination, path, query, None)
        return await self._ask(request, timeout_ms, max_bytes, ignore_backoff=ignore_backoff)

    async def put(
        self,
        destination: ServerName,
        path: str,
        *,
        body: JsonObject,
        query: Query | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
    ) -> JsonObject:
        """Return the JSON object that a PUT answers; of `[200, {…}]` (v1) the object.

        Raises RemoteError; InvalidJson: the body cannot be encoded.
        """
        request = OutgoingRequest("PUT", destination, path, query, body)
        return await self._ask(request, timeout_ms, max_bytes, ignore_backoff=ignore_backoff)

    async def post(
        self,
        destination: ServerName,
        path: str,
        *,
        body: JsonObject,
        query: Query | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
    ) -> JsonObject:
        """Return the JSON object that a POST answers. Raises RemoteError, InvalidJson."""
        request = OutgoingRequest("POST", destination, path, query, body)
        return await self._ask(request, timeout_ms, max_bytes, ignore_backoff=ignore_backoff)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        destination: ServerName,
        path: str,
        *,
        query: Query | None = None,
        timeout_ms: int = STREAM_TIMEOUT_MS,
        max_bytes: int = STREAM_MAX_BYTES,
        follow_redirect: bool = False,
        ignore_backoff: bool = False,
    ) -> AsyncIterator[RemoteStream]:
        """Open the answer to a GET and hand out its body as it comes.

        With `follow_redirect`, one redirect is followed, to any host and without a signature.
        Raises RemoteError, here and while the body is read.
        """
        request = OutgoingRequest("GET", destination, path, query, None)
        async with contextlib.AsyncExitStack() as stack:
            with self._observed(request):
                await self._admit(request, ignore_backoff=ignore_backoff)
                async with self._counted(request):
                    response = await self._open(request, timeout_ms, stack)
                    location = response.headers.get("Location")
                    if response.status // 100 != 3:
                        await require_success(response, destination)
            if response.status // 100 != 3:
                yield RemoteStream(response, destination, max_bytes)
                return
            if not follow_redirect or location is None:
                raise RemoteBadAnswer(destination, "redirects", status=response.status)
            target = _redirected(request, location)
            yield await stack.enter_async_context(
                self.open_url(target, timeout_ms=timeout_ms, max_bytes=max_bytes)
            )

    @contextlib.asynccontextmanager
    async def open_url(
        self,
        url: str,
        *,
        timeout_ms: int = STREAM_TIMEOUT_MS,
        max_bytes: int = STREAM_MAX_BYTES,
    ) -> AsyncIterator[RemoteStream]:
        """Open an `https` URL that another server has named, under the same limits, unsigned.

        No redirect is followed. Raises RemoteError.
        """
        route, target = _route_of_url(url)
        async with contextlib.AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    self._connections.request("GET", route, target, timeout_ms=timeout_ms)
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise RemoteUnreachable(route.host, _reason(error)) from error
            await require_success(response, route.host)
            yield RemoteStream(response, route.host, max_bytes)

    async def _ask(
        self, request: OutgoingRequest, timeout_ms: int, max_bytes: int, *, ignore_backoff: bool
    ) -> JsonObject:
        with self._observed(request):
            await self._admit(request, ignore_backoff=ignore_backoff)
            async with self._counted(request), contextlib.AsyncExitStack() as stack:
                try:
                    # Over all of it: who sends a byte a second does not last longer.
                    async with asyncio.timeout(timeout_ms / 1000):
                        response = await self._open(request, timeout_ms, stack)
                        return await read_answer(response, request.destination, max_bytes)
                except TimeoutError as error:
                    raise RemoteUnreachable(request.destination, "no answer in time") from error

    async def _admit(self, request: OutgoingRequest, *, ignore_backoff: bool) -> None:
        destination = request.destination
        if not self._policy.may_talk_to(destination):
            raise RemoteNotAllowed(destination)
        if ignore_backoff:
            return
        retry_ts = await self._destinations.retry_ts(destination)
        if retry_ts is not None and retry_ts > self._clock.now_ms():
            raise RemoteBackingOff(destination, retry_ts)

    async def _open(
        self, request: OutgoingRequest, timeout_ms: int, stack: contextlib.AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Send a request along the first route that can be connected. Raises RemoteError."""
        destination = request.destination
        headers = request.headers(self._own_name, self._key)
        try:
            failed: Exception | None = None
            for route in await self._server_names.routes(destination):
                try:
                    return await stack.enter_async_context(
                        self._connections.request(
                            request.method,
                            route,
                            request.target,
                            headers=headers,
                            body=request.body,
                            timeout_ms=timeout_ms,
                        )
                    )
                except aiohttp.ClientConnectorError as error:
                    # Nothing was sent: the next of several SRV records may do.
                    failed = error
            raise failed or OSError(None, "there is no route to it")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RemoteUnreachable(destination, _reason(error)) from error

    @contextlib.asynccontextmanager
    async def _counted(self, request: OutgoingRequest) -> AsyncIterator[None]:
        """Keep in mind whether the destination works."""
        started_ts = self._clock.now_ms()
        destination = request.destination
        try:
            yield
        except RemoteRefusal as refusal:
            if not refusal.is_temporary:
                await self._destinations.succeeded(destination)
            else:
                await self._destinations.failed(
                    destination, started_ts=started_ts, retry_after_ms=refusal.retry_after_ms
                )
            raise
        except RemoteError:
            await self._destinations.failed(destination, started_ts=started_ts)
            raise
        await self._destinations.succeeded(destination)

    @contextlib.contextmanager
    def _observed(self, request: OutgoingRequest) -> Iterator[None]:
        """Measure and trace the block."""
        started = self._clock.monotonic()
        outcome = "failed"
        facts = {"destination": request.destination, "method": request.method}
        try:
            with self._tracer.span(request.operation, facts):
                yield
            outcome = "answered"
        except RemoteRefusal:
            outcome = "refused"
            raise
        except (RemoteBackingOff, RemoteNotAllowed):
            outcome = "not sent"
            raise
        finally:
            seconds = self._clock.monotonic() - started
            self._seconds.labels(request.operation, outcome).observe(seconds)


def _redirected(request: OutgoingRequest, location: str) -> str:
    """Return where a redirect leads. Raises RemoteBadAnswer.

    Relative to the server's name: what lies behind it is nobody's business.
    """
    try:
        return urljoin(f"https://{request.destination}{request.target}", location)
    except ValueError:
        raise RemoteBadAnswer(request.destination, "redirects to no URL") from None


def _route_of_url(url: str) -> tuple[Route, str]:
    """Split an `https` URL from another server. Raises RemoteBadAnswer.

    What is escaped in it stays as it is: it may be signed.
    """
    try:
        parsed = URL(url if _URL.fullmatch(url) else "", encoded=True)
        host, port = parsed.host, parsed.port or _HTTPS_PORT
    except ValueError:
        raise RemoteBadAnswer("", "names something that is no URL") from None
    if parsed.scheme != "https" or not host:
        raise RemoteBadAnswer(host or "", "names a URL that is not https")
    authority = parsed.raw_authority.rpartition("@")[2]
    return Route(host, port, authority, host), parsed.raw_path_qs


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
