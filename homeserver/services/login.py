"""Logging in. Spec: client-server-api/#legacy-login"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from homeserver.errors import Forbidden, MatrixError, MissingParam
from homeserver.protocol.identifiers import UserID, parse_device_id
from homeserver.protocol.json_types import JsonObject
from homeserver.services.login_identifiers import parse_identifier
from homeserver.services.password_check import PasswordCheck
from homeserver.services.sessions import OpenedSession, Sessions, WantedSession
from homeserver.web.params import Body

# Says nothing about which of the two it was.
_REFUSAL: Final = "Invalid username or password"


class LoginForm(Body, frozen=True):
    """What a client sends to log in; null counts as absent."""

    type: str
    identifier: JsonObject | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None
    # COMPAT(clients of r0.3): what stood for `identifier`.
    user: str | None = None
    medium: str | None = None
    address: str | None = None


class LoginMethod(Protocol):
    """One way to prove who one is."""

    @property
    def type(self) -> str:
        """The login type, such as `m.login.password`."""
        ...

    def flow(self) -> JsonObject:
        """Return how the method is offered to clients, with its `type`."""
        ...

    async def authenticate(self, form: LoginForm) -> UserID:
        """Return who logs in. Raises Forbidden, MissingParam, InvalidParam, LimitExceeded."""
        ...


class PasswordLogin:
    """Login with a password. Spec: client-server-api/#legacy-login"""

    type: Final = "m.login.password"

    def __init__(self, passwords: PasswordCheck) -> None:
        self._passwords = passwords

    def flow(self) -> JsonObject:
        """Return the flow."""
        return {"type": self.type}

    async def authenticate(self, form: LoginForm) -> UserID:
        """Return the user whose password it is. Raises Forbidden, whatever of it is wrong."""
        identifier = parse_identifier(msgspec.structs.asdict(form))
        if identifier is None:
            raise MissingParam("identifier is missing")
        if form.password is None:
            raise MissingParam("password is missing")
        user_id = await self._passwords.user_with(identifier, form.password)
        if user_id is None:
            raise Forbidden(_REFUSAL)
        return user_id


class Login:
    """Logs users in by the methods that this server offers."""

    def __init__(self, methods: Sequence[LoginMethod], sessions: Sessions) -> None:
        self._methods: Final = {method.type: method for method in methods}
        self._sessions = sessions

    def flows(self) -> list[JsonObject]:
        """Return the methods as clients see them."""
        return [method.flow() for method in self._methods.values()]

    async def log_in(self, form: LoginForm) -> OpenedSession:
        """Log a user in.

        Raises MatrixError 400: an unknown type; InvalidIdentifier: the device ID; what the
        method raises; Forbidden, UserDeactivated, UserLocked.
        """
        method = self._methods.get(form.type)
        if method is None:
            raise MatrixError(400, "M_UNKNOWN", "Unknown login type")
        # Before the proof, so that a token is not used up for nothing.
        device_id = parse_device_id(form.device_id) if form.device_id else None
        wanted = WantedSession(
            device_id=device_id,
            display_name=form.initial_device_display_name,
            can_refresh=form.refresh_token is True,
        )
        return await self._sessions.open(await method.authenticate(form), wanted)
