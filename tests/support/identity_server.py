"""An identity server on loopback, over TLS, that signs with a key of its own."""

import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.config.values import IpRange
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import sign_json, signing_key_from_seed
from homeserver.protocol.unpadded_base64 import encode_base64

API = "/_matrix/identity/v2"
TOKEN = "identity token"
_CERTIFICATES = Path(__file__).parents[1] / "unit" / "web"


class FakeIdentityServer:
    """Knows bindings, sessions and invites; `refuses` makes it answer an error to everything."""

    def __init__(self) -> None:
        self.name = ""
        self.key = signing_key_from_seed("1", b"i" * 32)
        self.bindings: dict[tuple[str, str], str] = {}
        # By sid: medium, address, client_secret.
        self.sessions: dict[str, tuple[str, str, str]] = {}
        self.invites: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.authorizations: list[str] = []
        self.refuses: tuple[int, Any] | None = None
        self.keys_are_valid = True
        self.knows_unbind = True

    @property
    def token(self) -> str:
        """The token of the invite that was stored last."""
        return f"token{len(self.invites)}"

    def signs(self, user_id: str, **more: str) -> dict[str, Any]:
        """Return the proof that a user owns the address that was invited last."""
        unsigned = {"mxid": user_id, "token": self.token, **more}
        signed: dict[str, Any] = sign_json(unsigned, ServerName(self.name), self.key)
        return signed

    @property
    def credentials(self) -> dict[str, str]:
        return {"id_server": self.name, "id_access_token": TOKEN}

    def sections(self, **settings: Any) -> dict[str, Any]:
        """Return the configuration of a homeserver that uses this identity server."""
        return {
            "outgoing_http": OutgoingHttpSection(
                allowed_ip_ranges=(IpRange("127.0.0.0/8"),), verify_tls=False
            ),
            "third_party_ids": ThirdPartyIdsSection(identity_servers=(self.name,), **settings),
        }

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix(API)
        self.asked.append(f"{request.method} {path}")
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.refuses is not None:
            status, body = self.refuses
            return web.json_response(body, status=status)
        if path == "/pubkey/isvalid":
            is_known = request.query["public_key"] == self.key.verify_key
            return web.json_response({"valid": is_known and self.keys_are_valid})
        if path == "/3pid/unbind":
            return await self._unbind(request)
        if self.authorizations[-1] != f"Bearer {TOKEN}":
            return _error(401, "M_UNKNOWN_TOKEN")
        body = await request.json() if request.method == "POST" else dict(request.query)
        match path:
            case "/hash_details":
                return web.json_response({"lookup_pepper": "salt", "algorithms": ["sha256"]})
            case "/lookup":
                return self._lookup(body)
            case "/store-invite":
                return self._store(body)
            case "/3pid/bind" | "/3pid/getValidated3pid":
                return self._session(body)
        return _error(404, "M_UNRECOGNIZED")

    def _lookup(self, body: dict[str, Any]) -> web.Response:
        found = {}
        for (medium, address), user_id in self.bindings.items():
            digest = hashlib.sha256(f"{address} {medium} salt".encode()).digest()
            hashed = encode_base64(digest).replace("+", "-").replace("/", "_")
            if hashed in body["addresses"]:
                found[hashed] = user_id
        return web.json_response({"mappings": found})

    def _store(self, body: dict[str, Any]) -> web.Response:
        self.invites.append(body)
        url = f"https://{self.name}{API}/pubkey/isvalid"
        key = {"public_key": self.key.verify_key, "key_validity_url": url}
        return web.json_response(
            {"token": self.token, "public_keys": [key], "display_name": "c...@e..."}
        )

    def _session(self, body: dict[str, Any]) -> web.Response:
        medium, address, secret = self.sessions.get(body["sid"], ("", "", ""))
        if not secret or secret != body["client_secret"]:
            return _error(404, "M_NO_VALID_SESSION")
        if "mxid" in body:
            self.bindings[medium, address] = body["mxid"]
        times = {"validated_at": 1000, "ts": 1000}
        return web.json_response({"medium": medium, "address": address, **times})

    async def _unbind(self, request: web.Request) -> web.Response:
        if not self.knows_unbind:
            return web.Response(status=501)
        body = await request.json()
        self.bindings.pop((body["threepid"]["medium"], body["threepid"]["address"]), None)
        return web.json_response({})


def _error(status: int, errcode: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": "no"}, status=status)


@contextlib.asynccontextmanager
async def identity_server() -> AsyncIterator[FakeIdentityServer]:
    """Run an identity server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(_CERTIFICATES / "tls_certificate.pem", _CERTIFICATES / "tls_key.pem")
    identity = FakeIdentityServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", identity.answer)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    identity.name = f"127.0.0.1:{server.port}"
    try:
        yield identity
    finally:
        await server.close()
