"""From a request to its answer: match, authenticate, rate limit, decode, call, encode.

The only place that builds error responses, and with `telemetry.tasks` the only one that
catches everything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from homeserver.errors import RemoteError, Unrecognized
from homeserver.protocol.identifiers import ServerName
from homeserver.storage.database import DatabaseUnavailable
from homeserver.telemetry import context
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.trace import Tracer
from homeserver.web.answers import Content, Download
from homeserver.web.authentication import Authentication
from homeserver.web.byte_ranges import selected
from homeserver.web.connection import ConnectionFacts, RequestIds, rate_limit_key
from homeserver.web.cors import Cors
from homeserver.web.endpoint import BoundEndpoint
from homeserver.web.params import RequestFacts
from homeserver.web.paths import Api
from homeserver.web.plan import Plan, SignedBody
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.refusals import internal_error, refusal_of
from homeserver.web.request_body import StreamedUpload, read_body
from homeserver.web.requester import Requester
from homeserver.web.responses import Responses, send_download
from homeserver.web.router import Match, Router, WrongMethod
from homeserver.web.unverified import UnverifiedRequests

log = get_logger(__name__)

# An event is at most 64 KiB; the rest is room for what surrounds several in one body.
MAX_BODY_BYTES: Final = 128 * 1024
# Sizes that are worth compressing for a phone; what a proxy in front usually does as well.
COMPRESS_OVER_BYTES: Final = 64 * 1024
# The status that logs and metrics show when the answer did not come to its end, nearly always
# because the client left.
CLIENT_LEFT: Final = 499
_UNMATCHED: Final = "unrecognized"
_PREFLIGHT: Final = "preflight"
_MAX_LOGGED_PATH: Final = 300

Responder = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class DispatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What configuration says about requests."""

    cors: Cors = Cors()
    # For JSON bodies of endpoints that name no limit of their own.
    max_body_bytes: int = MAX_BODY_BYTES
    # None: never compress.
    compress_over_bytes: int | None = COMPRESS_OVER_BYTES
    # Tells this node and this start of it apart in request IDs.
    request_id_prefix: str = "r"


class _Exchange(msgspec.Struct):
    """One request and what has become of it so far."""

    request: web.BaseRequest
    facts: RequestFacts
    # Path and query as in the request line.
    uri: str
    query: str
    # A download whose headers may be out already.
    sending: web.StreamResponse | None = None
    is_broken_off: bool = False


class Dispatch:
    """Answers the requests of every listener of a node."""

    def __init__(
        self,
        endpoints: Iterable[BoundEndpoint],
        *,
        authentication: Authentication,
        rate_limiter: RateLimiter,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer,
        settings: DispatchSettings,
    ) -> None:
        """Raises ValueError: two endpoints claim one method and path."""
        self._plans: Final = [
            Plan(bound, settings.max_body_bytes, metrics.request_seconds) for bound in endpoints
        ]
        self._routers: dict[frozenset[Api], Router[Plan]] = {}
        # All at once, whichever listener serves which: a clash is found at the start.
        self._router_for(frozenset(Api))
        self._authentication = authentication
        self._rate_limiter = rate_limiter
        self._unverified = UnverifiedRequests(rate_limiter)
        self._clock = clock
        self._tracer = tracer
        self._responses = Responses(settings.cors, compress_over_bytes=settings.compress_over_bytes)
        self._request_ids = RequestIds(settings.request_id_prefix)
        self._in_flight = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        metrics.requests_in_flight.set_function(lambda: self._in_flight)

    async def drain(self) -> None:
        """Return when no request is being answered; connections close after their answer."""
        self._is_draining = True
        if self._in_flight == 0:
            self._idle.set()
        await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    def responder(
        self, listener: str, apis: frozenset[Api], trusted_proxies: Sequence[str] = ()
    ) -> Responder:
        """Return what answers the requests of one listener, which serves only some APIs."""
        router = self._router_for(apis)
        connection_facts = ConnectionFacts(listener, trusted_proxies, self._request_ids)

        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            self._in_flight += 1
            try:
                return await self._respond(request, connection_facts.of(request), router)
            finally:
                self._end_request()

        return respond

    def _end_request(self) -> None:
        self._in_flight -= 1
        if self._is_draining and self._in_flight == 0:
            self._idle.set()

    def _router_for(self, apis: frozenset[Api]) -> Router[Plan]:
        if apis not in self._routers:
            self._routers[apis] = Router(
                (plan.endpoint, plan) for plan in self._plans if plan.endpoint.apis & apis
            )
        return self._routers[apis]

    async def _respond(
        self, request: web.BaseRequest, facts: RequestFacts, router: Router[Plan]
    ) -> web.StreamResponse:
        started = self._clock.monotonic()
        uri = _target(request)
        path, _, query = uri.partition("?")
        found = router.match(request.method, path)
        operation = _operation(request.method, found)
        context.bind_only({"request_id": facts.request_id, "operation": operation})
        exchange = _Exchange(request, facts, uri, query)
        status = CLIENT_LEFT
        try:
            with self._tracer.span(operation, {"request_id": facts.request_id}):
                response = await self._answer(exchange, found)
            if not exchange.is_broken_off:
                status = response.status
            if self._is_draining:
                response.force_close()
            return response
        finally:
            seconds = self._clock.monotonic() - started
            if isinstance(found, Match):
                found.target.observe(status, seconds)
            _log_request(exchange, path, status, seconds)

    async def _answer(
        self, exchange: _Exchange, found: Match[Plan] | WrongMethod | None
    ) -> web.StreamResponse:
        if exchange.request.method == "OPTIONS":
            return self._responses.preflight(exchange.request)
        if not isinstance(found, Match):
            return self._unrecognized(exchange, found)
        try:
            answer = await self._call(exchange, found)
            return await self._send(exchange, answer)
        except Exception as error:  # noqa: BLE001 - here bugs become 500 M_UNKNOWN
            return self._refuse(exchange, error)

    async def _call(self, exchange: _Exchange, found: Match[Plan]) -> object:
        plan = found.target
        parameters: dict[str, Any] = {}
        signed = None
        if plan.is_signed:
            signed, origin = await self._admit_server(exchange, plan)
            if plan.takes_origin:
                parameters["origin"] = origin
        else:
            requester = await self._admit_client(exchange, plan)
            if plan.takes_requester:
                parameters["requester"] = requester
        segments = found.values()
        parameters.update(plan.parameters(segments, exchange.query))
        if "room_id" in segments:
            context.bind(room_id=segments["room_id"])
        if plan.takes_request:
            parameters["request"] = exchange.facts
        if plan.takes_upload:
            parameters["upload"] = StreamedUpload(exchange.request)
        elif plan.decode_body is not None:
            parameters["body"] = (
                plan.convert_signed(signed)
                if signed is not None
                else plan.decode_body(await read_body(exchange.request, plan.max_body_bytes))
            )
        return await plan.call(**parameters)

    async def _admit_server(self, exchange: _Exchange, plan: Plan) -> tuple[SignedBody, ServerName]:
        request = exchange.request
        with self._unverified.verifying(exchange.facts.ip) as hold:
            # Nobody's body is in memory while keys are fetched.
            await self._authentication.check_signer(request)
            body = plan.signed_body(await read_body(request, plan.max_body_bytes, hold))
            origin = await self._authentication.origin(request, exchange.uri, body.content)
        context.bind(origin=origin)
        if plan.endpoint.rate_limit is not None:
            self._rate_limiter.take(plan.endpoint.rate_limit, origin)
        return body, origin

    async def _admit_client(self, exchange: _Exchange, plan: Plan) -> Requester | None:
        endpoint, facts = plan.endpoint, exchange.facts
        requester = await self._authentication.requester(
            endpoint, exchange.request, exchange.query, facts
        )
        if requester is not None:
            context.bind(user_id=requester.user_id)
        if endpoint.rate_limit is not None and (requester is None or requester.is_rate_limited):
            key = rate_limit_key(facts.ip) if requester is None else requester.user_id
            self._rate_limiter.take(endpoint.rate_limit, key)
        return requester

    async def _send(self, exchange: _Exchange, answer: object) -> web.StreamResponse:
        request, request_id = exchange.request, exchange.facts.request_id
        if isinstance(answer, Content):
            answer = selected(answer, request.method, request.headers)
        if not isinstance(answer, Download):
            return await self._responses.of(answer, request, request_id)
        exchange.sending = self._responses.download(answer, request, request_id)
        await send_download(answer, exchange.sending, request)
        return exchange.sending

    def _refuse(self, exchange: _Exchange, error: Exception) -> web.StreamResponse:
        refusal = refusal_of(error)
        if exchange.sending is not None and exchange.sending.prepared:
            log.warning("answer broke off", reason=type(error).__name__)
            exchange.is_broken_off = True
            return _broken_off(exchange.request, exchange.sending)
        if refusal is None:
            log.error("request failed", exc_info=error)
            refusal = internal_error(exchange.facts.request_id)
        elif isinstance(error, RemoteError):
            log.warning("remote server at fault", server=error.server, reason=error.reason)
        elif isinstance(error, DatabaseUnavailable):
            log.error("database out of reach", reason=str(error))
        return self._responses.refusal(refusal, exchange.request, exchange.facts.request_id)

    def _unrecognized(self, exchange: _Exchange, found: WrongMethod | None) -> web.Response:
        refusal = Unrecognized(status=404 if found is None else 405)
        headers = None if found is None else {"Allow": ", ".join(found.allowed)}
        request, request_id = exchange.request, exchange.facts.request_id
        return self._responses.refusal(refusal, request, request_id, headers)


def _broken_off(request: web.BaseRequest, begun: web.StreamResponse) -> web.StreamResponse:
    # Nothing can be said any more. What comes of an answer must not look like all of it, so that
    # the connection ends before aiohttp ends the answer.
    begun.force_close()
    if request.transport is not None:
        request.transport.close()
    return begun


def _operation(method: str, found: Match[Plan] | WrongMethod | None) -> str:
    if isinstance(found, Match):
        return found.target.endpoint.operation
    return _PREFLIGHT if method == "OPTIONS" else _UNMATCHED


def _target(request: web.BaseRequest) -> str:
    # A proxy may be sent the absolute form of the target, which names a host as well.
    raw = request.raw_path
    return raw if raw.startswith("/") else request.rel_url.raw_path_qs


def _log_request(exchange: _Exchange, path: str, status: int, seconds: float) -> None:
    # Without the query string: it may hold a token or what a user searches for.
    log.info(
        "request",
        method=exchange.request.method,
        path=path[:_MAX_LOGGED_PATH],
        status=status,
        duration_ms=round(seconds * 1000, 2),
        ip=exchange.facts.ip,
    )
