"""Logins in progress: each belongs to one browser, and any node may continue it."""

import hashlib
import re
import secrets
from typing import Final, TypeAlias, TypeVar

import msgspec
from nacl.secret import SecretBox

from homeserver.protocol.identifiers import UserID
from homeserver.services.single_sign_on.attributes import Attributes
from homeserver.services.single_sign_on.provider import Challenge
from homeserver.storage import sign_in_flows
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock

_FLOW_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_FLOW_ID_BYTES: Final = 24
# Enough of the ID to tell the flows of one browser apart.
_COOKIE_PREFIX: Final = "homeserver_sso_"
_COOKIE_ID_LENGTH: Final = 12
_COOKIE_PATH: Final = "/_matrix/client/"


class LogIn(msgspec.Struct, frozen=True, tag="log_in"):
    """A client is to be logged in."""

    redirect_url: str


class Confirm(msgspec.Struct, frozen=True, tag="confirm"):
    """A stage of user-interactive authentication is to be passed."""

    uia_session: str


Purpose: TypeAlias = LogIn | Confirm


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Step: the user is asked to confirm an operation."""

    uia_session: str


class AtProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Step: the browser is at the provider."""

    provider_id: str
    challenge: Challenge
    purpose: Purpose


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """Step: the user is known, or wants an account; the page asks whether to go on."""

    provider_id: str
    subject: str
    redirect_url: str
    # None: there is no account yet.
    user_id: UserID | None = None
    attributes: Attributes = Attributes()
    # The user may have another localpart than that of the attributes.
    may_choose: bool = False


_Step = TypeVar("_Step", Asking, AtProvider, Arrived)


class FlowKey(msgspec.Struct, frozen=True):
    """A flow: its ID stands in addresses and forms, its secret in a cookie."""

    flow_id: str
    secret: str


class SignInFlows:
    """Keeps flows between the requests of a browser."""

    def __init__(
        self, database: Database, clock: Clock, *, lifetime_ms: int, is_https: bool
    ) -> None:
        self._database = database
        self._clock = clock
        self._lifetime_ms = lifetime_ms
        self._is_https = is_https

    def new_key(self) -> FlowKey:
        """Return the key of a new flow."""
        return FlowKey(secrets.token_urlsafe(_FLOW_ID_BYTES), secrets.token_urlsafe(32))

    def key_of(self, flow_id: str, cookies: str) -> FlowKey | None:
        """Return the key of a browser's flow from its cookies; None: it is not this browser's."""
        if not _FLOW_ID.fullmatch(flow_id):
            return None
        wanted = _cookie_name(flow_id)
        for cookie in cookies.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == wanted and value:
                return FlowKey(flow_id, value)
        return None

    def cookie(self, key: FlowKey) -> str:
        """Return the `Set-Cookie` that gives a flow to a browser.

        Lax: the provider's redirection shows it, a form of another site does not.
        """
        return self._cookie(key.flow_id, key.secret, self._lifetime_ms // 1000)

    def cleared_cookie(self, flow_id: str) -> str:
        """Return the `Set-Cookie` that makes a browser forget a flow."""
        return self._cookie(flow_id, "", 0)

    async def put(self, key: FlowKey, step: Asking | AtProvider | Arrived) -> None:
        """Begin a flow, or go on to its next step."""
        async with self._database.connection("put_sign_in_flow") as connection:
            await sign_in_flows.put(
                connection,
                _hash(key),
                type(step).__name__,
                bytes(_box(key).encrypt(msgspec.json.encode(step))),
                self._clock.now_ms() + self._lifetime_ms,
            )

    async def read(self, key: FlowKey, step: type[_Step]) -> _Step | None:
        """Return the step that a flow is at, if it is of this kind."""
        async with self._database.connection("read_sign_in_flow") as connection:
            sealed = await sign_in_flows.read(
                connection, _hash(key), step.__name__, self._clock.now_ms()
            )
        return _opened(key, sealed, step)

    async def take(self, key: FlowKey, step: type[_Step]) -> _Step | None:
        """End a flow that is at a step of this kind, and return it; one caller gets it."""
        async with self._database.connection("take_sign_in_flow") as connection:
            sealed = await sign_in_flows.take(
                connection, _hash(key), step.__name__, self._clock.now_ms()
            )
        return _opened(key, sealed, step)

    def _cookie(self, flow_id: str, value: str, max_age_seconds: int) -> str:
        secure = "; Secure" if self._is_https else ""
        return (
            f"{_cookie_name(flow_id)}={value}; Path={_COOKIE_PATH}; Max-Age={max_age_seconds};"
            f" HttpOnly; SameSite=Lax{secure}"
        )


def _cookie_name(flow_id: str) -> str:
    return _COOKIE_PREFIX + flow_id[:_COOKIE_ID_LENGTH]


def _hash(key: FlowKey) -> bytes:
    return hashlib.sha256(f"{key.flow_id} {key.secret}".encode()).digest()


def _box(key: FlowKey) -> SecretBox:
    return SecretBox(hashlib.sha256(b"sign-in flow " + key.secret.encode()).digest())


def _opened(key: FlowKey, sealed: bytes | None, step: type[_Step]) -> _Step | None:
    if sealed is None:
        return None
    return msgspec.json.decode(_box(key).decrypt(sealed), type=step)
