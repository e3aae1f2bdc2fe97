"""A node that serves accounts over loopback, on a real database and a clock of the test's."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from homeserver.config.model import Config
from homeserver.config.sections.database import DatabaseSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.sections.rate_limits import RateLimitsSection
from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import Secret
from homeserver.errors import RemoteError, UnknownToken
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.run.account_layer import AccountLayer, account_layer, account_routes
from homeserver.run.foundation import Foundation, foundation
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.trace import Tracer
from homeserver.web.authentication import Authentication
from homeserver.web.authenticators import Assertion, NoServerSignatures
from homeserver.web.dispatch import Dispatch, DispatchSettings
from homeserver.web.endpoint import bind
from homeserver.web.params import RequestFacts
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.requester import Requester
from homeserver.web.server import HttpServer

SHARED_SECRET = "the shared secret"
FACTS = RequestFacts(ip="192.0.2.1", user_agent="test", request_id="r-1", listener="test")
V3 = "/_matrix/client/v3"


class RoomsLeft:
    """Remembers whose rooms were to be left; refuses while it is told to."""

    def __init__(self) -> None:
        self.left: list[UserID] = []
        self.fails = False

    async def leave_all(self, user_id: UserID) -> None:
        if self.fails:
            raise RemoteError("elsewhere", "it is down")
        self.left.append(user_id)


class Captchas:
    """Verifies captchas: only `right` is right, and `down` finds nobody there."""

    def __init__(self) -> None:
        self.forms: list[tuple[str, Mapping[str, str]]] = []

    async def post_form(self, url: str, fields: Mapping[str, str]) -> JsonValue:
        self.forms.append((url, fields))
        if fields["response"] == "down":
            raise RemoteError(url, "no answer")
        return {"success": fields["response"] == "right"}


class TokensAndBridge:
    """The tokens of users, and one of an application service: `bridge`."""

    def __init__(self, layer: AccountLayer) -> None:
        self._layer = layer

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        if token == "bridge":
            return Requester(
                user_id=assertion.user_id or UserID("@bridge:localhost"), appservice_id="irc"
            )
        return await self._layer.access_tokens.authenticate(
            token, assertion=assertion, request=request
        )


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    json: Any
    headers: Mapping[str, str]

    @property
    def errcode(self) -> tuple[int, str | None]:
        return self.status, self.json.get("errcode")


class AccountNode:
    """A running node and a client that talks to it."""

    def __init__(
        self, base: Foundation, layer: AccountLayer, rooms: RoomsLeft, captchas: Captchas
    ) -> None:
        self.base = base
        self.layer = layer
        self.rooms = rooms
        self.captchas = captchas
        self.http: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        body: JsonValue = None,
        token: str | None = None,
        **options: Any,
    ) -> Answer:
        """Send a request with a JSON body; a path without a slash in front is under v3."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        url = path if path.startswith("/") else f"{V3}/{path}"
        if body is not None:
            options["json"] = body
        async with self.http.request(method, url, headers=headers, **options) as response:
            is_json = response.content_type == "application/json"
            answer = await (response.json() if is_json else response.text())
            return Answer(response.status, answer, dict(response.headers))

    async def register(self, username: str, password: str = "secret", **more: Any) -> JsonObject:
        """Register a user, with the dummy stage."""
        body = {"username": username, "password": password, "auth": {"type": "m.login.dummy"}}
        answer = await self.call("POST", "register", {**body, **more})
        assert answer.status == 200, answer
        made: JsonObject = answer.json
        return made

    async def log_in(self, user: str, password: str = "secret", **more: Any) -> Answer:
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return await self.call("POST", "login", {**body, **more})

    async def whoami(self, token: str) -> Answer:
        return await self.call("GET", "account/whoami", token=token)

    async def is_known(self, token: str) -> bool:
        """Whether a token still counts."""
        try:
            await self.requester(token)
        except UnknownToken:
            return False
        return True

    async def requester(self, token: str) -> Requester:
        return await self.layer.access_tokens.authenticate(
            token, assertion=Assertion(), request=FACTS
        )

    async def device_ids(self, token: str) -> set[DeviceID]:
        answer = await self.call("GET", "devices", token=token)
        return {device["device_id"] for device in answer.json["devices"]}

    async def log(self) -> list[tuple[str, str, str | None]]:
        """Return the changes in the log as (user ID, kind, device ID)."""
        async with self.base.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT user_id, kind, device_id FROM user_changes ORDER BY pos"
            )
        return [(row[0], row[1], row[2]) for row in rows]


def account_config(dsn: str, folder: Path, **sections: Any) -> Config:
    """Return a configuration with cheap passwords and without rate limits."""
    chosen: dict[str, Any] = {
        "server": ServerSection(name="localhost", data_dir=folder),
        "database": DatabaseSection(dsn=Secret(dsn)),
        "listeners": (Listener(port=0),),
        "passwords": PasswordsSection(bcrypt_cost=4),
        "rate_limits": RateLimitsSection(enabled=False),
        "registration": RegistrationSection(
            without_verification=True, guests_allowed=True, shared_secret=Secret(SHARED_SECRET)
        ),
        **sections,
    }
    return Config(**chosen)


@contextlib.asynccontextmanager
async def running_account_node(config: Config, clock: Clock) -> AsyncIterator[AccountNode]:
    """Start a node; several may share a database."""
    metrics, shutdown = Metrics(), Shutdown()
    async with foundation(config, clock=clock, metrics=metrics, shutdown=shutdown) as base:
        rooms, captchas = RoomsLeft(), Captchas()
        layer = account_layer(base, http=captchas)
        routes = account_routes(base, layer, rooms)
        dispatch = Dispatch(
            [bound for each in routes for bound in bind(each)],
            authentication=Authentication(TokensAndBridge(layer), NoServerSignatures()),
            rate_limiter=RateLimiter(clock, metrics, config.rate_limits),
            clock=clock,
            metrics=metrics,
            tracer=Tracer(),
            settings=DispatchSettings(),
        )
        server = HttpServer(dispatch, config.listeners, shutdown)
        node = AccountNode(base, layer, rooms, captchas)
        addresses = await server.start()
        node.http = aiohttp.ClientSession(addresses[0])
        try:
            yield node
        finally:
            await node.http.close()
            await server.drain(0.2)
