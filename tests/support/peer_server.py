"""Another homeserver, which does what a test tells it: well or badly.

peer.answers("GET", "/_matrix/federation/v1/version", {"server": {}})
peer.answers("GET", "/never", hangs)
reply = await peer.sends(server.name, "PUT", "/_matrix/…", {"pdus": []}, destination="evil")
"""

import asyncio
import contextlib
import io
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.server_keys import build_key_document
from homeserver.protocol.signing import SigningKey, sign_json, signing_key_from_seed
from tests.support.certificates import Authority

Script = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
KEYS = "/_matrix/key/v2/server"
DAY_MS = 24 * 60 * 60 * 1000


class Received(msgspec.Struct, frozen=True):
    """A request that reached the peer."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """What a server answered the peer."""

    status: int
    json: Any

    @property
    def errcode(self) -> tuple[int, str | None]:
        return self.status, self.json.get("errcode")


def new_key(version: str = "a_peer") -> SigningKey:
    """Return a new signing key."""
    return signing_key_from_seed(version, secrets.token_bytes(32))


class PeerServer:
    """A homeserver at an address with a port, which is its name."""

    def __init__(self, name: str, session: aiohttp.ClientSession) -> None:
        self.name = ServerName(name)
        self.key = new_key()
        self.received: list[Received] = []
        self._session = session
        self._scripts: dict[tuple[str, str], Script] = {}
        self.publishes_keys()

    def answers(
        self, method: str, path: str, answer: JsonObject | Script, status: int = 200
    ) -> None:
        """Answer requests of a path, whatever their query."""
        self._scripts[method, path] = answer if callable(answer) else _json(answer, status)

    def publishes_keys(self, document: JsonObject | None = None, **members: Any) -> JsonObject:
        """Answer with its keys; `members` replace those of the document, which is signed anew."""
        document = document or build_key_document(
            self.name, self.key, old_keys={}, valid_until_ts=now_ms() + DAY_MS
        )
        if members:
            document.pop("signatures")
            document = sign_json({**document, **members}, self.name, self.key)
        self.answers("GET", KEYS, document)
        return document

    def asked(self, path: str) -> list[Received]:
        """Return the requests of a path."""
        return [each for each in self.received if each.target.partition("?")[0] == path]

    def authorization(
        self,
        to: str,
        method: str,
        target: str,
        body: Any = None,
        *,
        origin: str | None = None,
        destination: str | None = None,
        key: SigningKey | None = None,
        has_destination: bool = True,
    ) -> str:
        """Return a header; what is given differs from what is right."""
        key, origin, destination = key or self.key, origin or self.name, destination or to
        signed: JsonObject = {"method": method, "uri": target, "origin": origin}
        if has_destination:
            signed["destination"] = destination
        if body is not None:
            signed["content"] = body
        signature = sign_json(signed, ServerName(origin), key)["signatures"][origin][key.key_id]
        shown = f',destination="{destination}"' if has_destination else ""
        return f'X-Matrix origin="{origin}"{shown},key="{key.key_id}",sig="{signature}"'

    async def sends(
        self,
        to: str,
        method: str,
        target: str,
        body: Any = None,
        *,
        authorization: str | None = None,
        sent_body: Any = None,
        **forged: Any,
    ) -> Reply:
        """Send a signed request; see `authorization`. `sent_body` goes out instead of `body`."""
        header = authorization or self.authorization(to, method, target, body, **forged)
        content = sent_body if sent_body is not None else body
        async with self._session.request(
            method,
            URL(f"https://{to}{target}", encoded=True),
            data=None if content is None else io.BytesIO(encode_canonical_lenient(content)),
            headers={"Authorization": header} if header else {},
        ) as response:
            return Reply(response.status, json.loads(await response.read()))

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        self.received.append(
            Received(request.method, target, dict(request.headers), await request.read())
        )
        script = self._scripts.get((request.method, target.partition("?")[0]))
        if script is None:
            return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "?"}, status=404)
        return await script(request)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def hangs(_request: web.BaseRequest) -> web.StreamResponse:
    """Answer nothing."""
    await asyncio.Event().wait()
    raise AssertionError


async def drips(request: web.BaseRequest) -> web.StreamResponse:
    """Answer the beginning of an object, and nothing after it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"a":')
    await asyncio.Event().wait()
    return response


async def never_ends(request: web.BaseRequest) -> web.StreamResponse:
    """Answer one string, for as long as anybody reads it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"a":"')
    while True:
        await response.write(b"a" * 65536)
        # Writing need not wait, and whoever reads runs in the same loop.
        await asyncio.sleep(0)


def text(body: str, status: int = 200, **headers: str) -> Script:
    """Answer any text."""

    async def script(_request: web.BaseRequest) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body.encode(), status=status, headers=named)

    return script


def _json(answer: JsonObject, status: int) -> Script:
    async def script(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(answer, status=status)

    return script


@contextlib.asynccontextmanager
async def peer_server(authority: Authority, host: str = "127.0.0.1") -> AsyncIterator[PeerServer]:
    """Start a peer on a free port of loopback, with a certificate for `host`.

    Its name is the host and the port.
    """
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        peer: PeerServer

        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            return await peer.respond(request)

        # A test that ends does not wait for answers that never do.
        runner = web.ServerRunner(
            web.Server(respond, handler_cancellation=True), shutdown_timeout=0.1
        )
        await runner.setup()
        context = authority.server_context(host)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        peer = PeerServer(f"{host}:{port}", session)
        try:
            yield peer
        finally:
            await runner.cleanup()
            await _connections_ended(port)


async def _connections_ended(port: int) -> None:
    """Wait a while for the ends of handshakes and farewells, which take TLS some more turns.

    The loop that ends with the test would leave their sockets open.
    """
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    for _ in range(200):
        sockets = [each._sock for each in list(transports.values())]
        if not any(each and each.getsockname()[1:2] == (port,) for each in sockets):
            break
        await asyncio.sleep(0.01)
