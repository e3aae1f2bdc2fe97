"""A served set of routes, and a client that talks to it over loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import pytest

from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.rate_limits import RateLimitsSection
from homeserver.errors import Forbidden, Unauthorized, UnknownToken
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.trace import Tracer
from homeserver.web.authentication import Authentication
from homeserver.web.authenticators import Assertion, SignedRequest
from homeserver.web.dispatch import Dispatch, DispatchSettings
from homeserver.web.endpoint import bind
from homeserver.web.params import RequestFacts
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.requester import Requester
from homeserver.web.server import HttpServer
from tests.support.clock import FakeClock

ALICE = Requester(
    user_id=UserID("@alice:test"), device_id=DeviceID("ALICEPHONE"), access_token_nid=1
)
TOKENS = {
    "alice": ALICE,
    "bob": Requester(user_id=UserID("@bob:test"), device_id=DeviceID("B"), access_token_nid=2),
    "guest": Requester(user_id=UserID("@1:test"), access_token_nid=3, is_guest=True),
    "admin": Requester(user_id=UserID("@root:test"), access_token_nid=4, is_admin=True),
    "locked": Requester(user_id=UserID("@locked:test"), access_token_nid=5, is_locked=True),
    "suspended": Requester(user_id=UserID("@s:test"), access_token_nid=6, is_suspended=True),
    "bridge": Requester(user_id=UserID("@bridge:test"), appservice_id="irc", is_rate_limited=False),
}


class KnownTokens:
    """Accepts TOKENS, and remembers what it was asked."""

    def __init__(self) -> None:
        self.assertions: list[Assertion] = []
        self.requests: list[RequestFacts] = []

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        self.assertions.append(assertion)
        self.requests.append(request)
        if token not in TOKENS:
            raise UnknownToken(soft_logout=token == "expired")
        return TOKENS[token]


class KnownSignatures:
    """Accepts requests whose header is the name of a server, and remembers them."""

    def __init__(self) -> None:
        self.requests: list[SignedRequest] = []

    async def check_signer(self, authorization: tuple[str, ...]) -> None:
        if not authorization:
            raise Unauthorized("Sign the request")
        if authorization == ("blocked.test",):
            raise Forbidden

    async def authenticate(self, request: SignedRequest) -> ServerName:
        self.requests.append(request)
        if not request.authorization:
            raise Unauthorized("Sign the request")
        return ServerName(request.authorization[0])


class Served:
    """A running server and a client of it."""

    def __init__(
        self, routes: Sequence[object], listeners: Sequence[Listener], settings: DispatchSettings
    ) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.shutdown = Shutdown()
        self.tokens = KnownTokens()
        self.signatures = KnownSignatures()
        self.dispatch = Dispatch(
            [bound for each in routes for bound in bind(each)],
            authentication=Authentication(self.tokens, self.signatures),
            rate_limiter=RateLimiter(self.clock, self.metrics, RateLimitsSection()),
            clock=self.clock,
            metrics=self.metrics,
            tracer=Tracer(),
            settings=settings,
        )
        self.server = HttpServer(self.dispatch, listeners, self.shutdown)

    async def start(self) -> None:
        addresses = await self.server.start()
        self.http = aiohttp.ClientSession(addresses[0], auto_decompress=False)

    async def stop(self) -> None:
        await self.http.close()
        await self.server.drain(0.2)

    async def call(
        self, method: str, path: str, token: str | None = None, **options: object
    ) -> tuple[int, object]:
        """Return status and JSON of an answer."""
        async with self.request(method, path, token, **options) as response:
            return response.status, await response.json()

    def request(
        self, method: str, path: str, token: str | None = None, **options: object
    ) -> aiohttp.client._RequestContextManager:
        headers = {**options.pop("headers", {})}  # type: ignore[dict-item]
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.request(method, path, headers=headers, **options)  # type: ignore[arg-type]

    @property
    def port(self) -> int:
        return int(self.server.addresses[0].rpartition(":")[2])


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve objects of routes classes on a free port."""
    running: list[Served] = []

    async def start(
        *routes: object,
        listeners: Sequence[Listener] = (Listener(port=0),),
        settings: DispatchSettings | None = None,
    ) -> Served:
        served = Served(routes, listeners, settings or DispatchSettings())
        await served.start()
        running.append(served)
        return served

    yield start
    for served in running:
        await served.stop()
