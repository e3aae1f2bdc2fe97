"""A node that serves accounts over loopback, on a real database and a clock of the test's."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.config.model import Config
from homeserver.config.sections.database import DatabaseSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.sections.rate_limits import RateLimitsSection
from homeserver.config.sections.registration import CaptchaSection, RegistrationSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import IpRange, Secret
from homeserver.errors import UnknownToken
from homeserver.protocol.identifiers import DeviceID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.run.compose import RunningServer, running_server
from homeserver.telemetry.clock import Clock
from homeserver.web.authenticators import Assertion
from homeserver.web.params import RequestFacts
from homeserver.web.requester import Requester

SHARED_SECRET = "the shared secret"
FACTS = RequestFacts(ip="192.0.2.1", user_agent="test", request_id="r-1", listener="test")
V3 = "/_matrix/client/v3"


class Captchas:
    """A verifying server: only `right` is right, and `down` gets no verdict."""

    def __init__(self) -> None:
        self.forms: list[Mapping[str, str]] = []

    async def verify(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form["response"] == "down":
            return web.Response(status=503)
        return web.json_response({"success": form["response"] == "right"})


@contextlib.asynccontextmanager
async def captcha_server() -> AsyncIterator[tuple[Captchas, CaptchaSection]]:
    """Run a verifying server, and say how it is configured."""
    captchas = Captchas()
    app = web.Application()
    app.router.add_post("/verify", captchas.verify)
    async with TestServer(app) as server:
        yield (
            captchas,
            CaptchaSection(
                site_key="public",
                secret_key=Secret("private"),
                verify_url=str(server.make_url("/verify")),
            ),
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

    def __init__(self, server: RunningServer, http: aiohttp.ClientSession) -> None:
        self.base = server.base
        self.layer = server.accounts
        self.http = http

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
        "outgoing_http": OutgoingHttpSection(allowed_ip_ranges=(IpRange("127.0.0.0/8"),)),
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
    async with (
        running_server(config, clock=clock) as server,
        aiohttp.ClientSession(server.url) as http,
    ):
        yield AccountNode(server, http)
