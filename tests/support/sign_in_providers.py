"""An OpenID Connect provider and a CAS on loopback, which tests can make lie."""

import base64
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_plus, urlencode
from xml.sax.saxutils import escape

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from homeserver.config.sections.single_sign_on import CasProvider, OidcProvider
from homeserver.config.values import Secret
from homeserver.telemetry.clock import Clock

CLIENT_ID = "matrix & co"
CLIENT_SECRET = "s:e&c%ret"
# Making one takes a tenth of a second.
_RSA_KEYS: list[rsa.RSAPrivateKey] = []


def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Return one of a few keys."""
    while len(_RSA_KEYS) <= number:
        _RSA_KEYS.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return _RSA_KEYS[number]


class FakeOidc:
    """Logs in whoever `claims` names, without asking."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.issuer = ""
        self.claims: dict[str, Any] = {"sub": "subject-1", "preferred_username": "alice"}
        self.userinfo: dict[str, Any] = {}
        # Instead of what an honest provider would say; None leaves a claim out.
        self.lies: dict[str, Any] = {}
        self.is_down = False
        self.algorithm = "RS256"
        self.key_id: str | None = "key-0"
        self.keys: dict[str, Any] = {"key-0": rsa_key(0)}
        self.published: set[str] = {"key-0"}
        # Requests, for the test to look at.
        self.authorizations: list[dict[str, str]] = []
        self.tokens: list[dict[str, str]] = []
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    def settings(self, **more: Any) -> OidcProvider:
        chosen: dict[str, Any] = {
            "id": "oidc",
            "name": "Example ID",
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": Secret(CLIENT_SECRET),
            **more,
        }
        return OidcProvider(**chosen)

    def rotates(self, key_id: str, key: Any, algorithm: str = "RS256") -> None:
        """Sign with another key from now on, and forget the old ones."""
        self.key_id, self.algorithm = key_id, algorithm
        self.keys[key_id] = key
        self.published = {key_id}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._watch])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        return app

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.is_down:
            return web.Response(status=503)
        response: web.StreamResponse = await handler(request)
        return response

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.lies.get("issuer", self.issuer),
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        keys = [_public_jwk(key_id, self.keys[key_id]) for key_id in sorted(self.published)]
        return web.json_response({"keys": [{"kty": "unheard-of", "kid": "x"}, *keys]})

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.authorizations.append(query)
        code = secrets.token_urlsafe(8)
        self._codes[code] = query
        fields = {"code": code, "state": query["state"], "iss": self.issuer}
        raise web.HTTPFound(f"{query['redirect_uri']}?{urlencode(fields)}")

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.tokens.append({**form, "Authorization": request.headers.get("Authorization", "")})
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        pair = f"{quote_plus(CLIENT_ID)}:{quote_plus(CLIENT_SECRET)}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        is_client = request.headers.get("Authorization") == basic or (
            (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        )
        if (
            asked is None
            or not is_client
            or asked["code_challenge"] != challenge
            or asked["code_challenge_method"] != "S256"
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "at", "token_type": "Bearer", "id_token": self._id_token(asked)}
        )

    def _id_token(self, asked: dict[str, str]) -> str:
        now = self._clock.now_ms() // 1000
        honest = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        told = {name: value for name, value in {**honest, **self.lies}.items() if value is not None}
        headers = {"kid": self.key_id} if self.key_id is not None else None
        if self.algorithm == "none":
            return jwt.encode(told, None, algorithm="none", headers=headers)
        if self.algorithm.startswith("HS"):
            # The attack that takes the public key, which everybody knows, for a shared secret.
            key = _public_jwk("key-0", self.keys["key-0"])["n"].encode()
            return jwt.encode(told, key, algorithm=self.algorithm, headers=headers)
        key = self.keys[self.key_id or "key-0"]
        return jwt.encode(told, key, algorithm=self.algorithm, headers=headers)

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at"
        return web.json_response({"sub": self.claims["sub"], **self.userinfo})


def _public_jwk(key_id: str, key: Any) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        assert isinstance(public, ed25519.Ed25519PublicKey)
        jwk = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**jwk, "kid": key_id, "use": "sig"}


class FakeCas:
    """Logs in whoever `user` names, without asking."""

    def __init__(self) -> None:
        self.url = ""
        self.user = "alice"
        self.attributes: list[tuple[str, str]] = []
        # Instead of the answer to a ticket.
        self.answer: tuple[int, str] | None = None
        self.logins: list[dict[str, str]] = []
        self.validations: list[dict[str, str]] = []
        self._tickets: dict[str, str] = {}

    def settings(self, **more: Any) -> CasProvider:
        chosen: dict[str, Any] = {"id": "cas", "name": "Campus", "server_url": self.url, **more}
        return CasProvider(**chosen)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/cas/login", self._login)
        app.router.add_get("/cas/p3/serviceValidate", self._validate)
        app.router.add_get("/cas/serviceValidate", self._validate)
        return app

    async def _login(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.logins.append(query)
        ticket = f"ST-{secrets.token_urlsafe(8)}"
        self._tickets[ticket] = query["service"]
        raise web.HTTPFound(f"{query['service']}&ticket={ticket}")

    async def _validate(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.validations.append({**query, "path": request.path})
        if self.answer is not None:
            status, text = self.answer
            return web.Response(status=status, text=text, content_type="application/xml")
        if self._tickets.pop(query["ticket"], None) != query["service"]:
            inner = (
                '<cas:authenticationFailure code="INVALID_TICKET">no</cas:authenticationFailure>'
            )
        else:
            told = "".join(
                f"<cas:{name}>{escape(value)}</cas:{name}>" for name, value in self.attributes
            )
            inner = (
                f"<cas:authenticationSuccess><cas:user>{escape(self.user)}</cas:user>"
                f"<cas:attributes>{told}</cas:attributes></cas:authenticationSuccess>"
            )
        return web.Response(text=cas_answer(inner), content_type="application/xml")


def cas_answer(inner: str) -> str:
    return (
        f'<cas:serviceResponse xmlns:cas="http://www.yale.edu/tp/cas">{inner}</cas:serviceResponse>'
    )


@contextlib.asynccontextmanager
async def oidc_server(clock: Clock) -> AsyncIterator[FakeOidc]:
    oidc = FakeOidc(clock)
    async with TestServer(oidc.app()) as server:
        oidc.issuer = str(server.make_url("")).rstrip("/")
        yield oidc


@contextlib.asynccontextmanager
async def cas_server() -> AsyncIterator[FakeCas]:
    cas = FakeCas()
    async with TestServer(cas.app()) as server:
        cas.url = str(server.make_url("/cas"))
        yield cas
