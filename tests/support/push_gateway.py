"""A push gateway, and a push service, on loopback, which do what a test tells them.

await bob.post("pushers/set", gateway.pusher("key-1"))
notification = await gateway.next()
"""

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.values import IpRange
from tests.support.certificates import Authority

NOTIFY = "/_matrix/push/v1/notify"
# The gateway shows a certificate that nobody knows, at an address that is blocked otherwise.
OUTGOING = OutgoingHttpSection(allowed_ip_ranges=(IpRange("127.0.0.0/8"),), verify_tls=False)
# A claim of 15 s, a lease of 10 s and its grace of 10 s may have to pass first.
PATIENCE_SECONDS = 60


class WebPushRequest(msgspec.Struct, frozen=True):
    """What reached the push service."""

    headers: dict[str, str]
    body: bytes


class PushGateway:
    """Takes notifications; `statuses` are its next answers, `rejected` the keys it rejects."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []
        self.is_down = False
        self.rejected: list[str] = []
        self.attempts = 0
        self._notifications: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._web_pushes: asyncio.Queue[WebPushRequest] = asyncio.Queue()
        self._tried = asyncio.Event()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.attempts += 1
        self._tried.set()
        if self.is_down:
            return web.Response(status=503)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200 and request.path == NOTIFY:
            self._notifications.put_nowait(json.loads(body)["notification"])
            return web.json_response({"rejected": self.rejected})
        if request.path != NOTIFY:
            self._web_pushes.put_nowait(WebPushRequest(dict(request.headers), body))
        return web.Response(status=201 if status == 200 else status)

    def pusher(self, pushkey: str = "key", **fields: Any) -> dict[str, Any]:
        """Return what a client sets to be notified here; `data` is added to."""
        extra = fields.pop("data", {})
        return {
            "kind": "http",
            "app_id": "org.example.app",
            "pushkey": pushkey,
            "app_display_name": "App",
            "device_display_name": "Phone",
            "lang": "en",
            "data": {"url": self.url + NOTIFY, **extra},
            **fields,
        }

    async def next(self) -> dict[str, Any]:
        """Return the next notification, when it is there."""
        return await asyncio.wait_for(self._notifications.get(), PATIENCE_SECONDS)

    async def next_within(self, seconds: float) -> dict[str, Any]:
        """Return the next notification, which may take longer than usual."""
        return await asyncio.wait_for(self._notifications.get(), seconds)

    async def next_bodies(self, count: int) -> list[str]:
        """Return the texts of the next notifications."""
        return [(await self.next())["content"]["body"] for _ in range(count)]

    async def next_web_push(self) -> WebPushRequest:
        return await asyncio.wait_for(self._web_pushes.get(), PATIENCE_SECONDS)

    async def tried(self) -> None:
        """Wait until somebody has tried since the last call."""
        await asyncio.wait_for(self._tried.wait(), PATIENCE_SECONDS)
        self._tried.clear()

    @property
    def is_empty(self) -> bool:
        return self._notifications.empty() and self._web_pushes.empty()


@contextlib.asynccontextmanager
async def push_gateway(authority: Authority) -> AsyncIterator[PushGateway]:
    """Start a gateway on a free port."""
    gateway = PushGateway()
    runner = web.ServerRunner(web.Server(gateway.respond), shutdown_timeout=0.1)
    await runner.setup()
    context = authority.server_context("127.0.0.1")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    gateway.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await runner.cleanup()


class Browser:
    """A subscription to Web Push: it decrypts what a push service gets for it."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey | None = None, auth: bytes | None = None
    ) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._auth = auth or os.urandom(16)
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    @property
    def pushkey(self) -> str:
        return base64.urlsafe_b64encode(self.public).rstrip(b"=").decode()

    @property
    def auth(self) -> str:
        return base64.urlsafe_b64encode(self._auth).rstrip(b"=").decode()

    def pusher(self, gateway: PushGateway, **fields: Any) -> dict[str, Any]:
        data = {"url": f"{gateway.url}/push/abc", "auth": self.auth, **fields.pop("data", {})}
        kind = fields.pop("kind", "webpush")
        return {**gateway.pusher(self.pushkey, kind=kind, **fields), "data": data}

    def decrypt(self, request: WebPushRequest) -> Any:
        return json.loads(self.decrypt_body(request.body))

    def decrypt_body(self, body: bytes) -> bytes:
        """Read a message as RFC 8291 and RFC 8188 have it."""
        salt, length = body[:16], body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        sender_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self._key.exchange(ec.ECDH(), sender_key)
        secret = _derive(shared, self._auth, b"WebPush: info\0" + self.public + sender, 32)
        key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, sealed, None)
        return padded.rstrip(b"\0").removesuffix(b"\2")


def _derive(secret: bytes, salt: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=label).derive(secret)
