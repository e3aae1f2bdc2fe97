"""Registration. Spec: client-server-api/#legacy-account-registration"""

from typing import Literal

import msgspec

from client_api.session_answers import SessionAnswer, session_answer
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.registration import Registration, RegistrationForm
from homeserver.services.registration_tokens import RegistrationTokens
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query, RequestFacts
from homeserver.web.paths import CLIENT_V1, CLIENT_V3


class RegisterQuery(Query, frozen=True):
    """Which kind of account."""

    kind: Literal["user", "guest"] = "user"


class AvailableQuery(Query, frozen=True):
    """The name to look for."""

    username: str


class AvailableAnswer(msgspec.Struct, frozen=True):
    """The name is free: anything else is an error."""

    available: bool = True


class ValidityQuery(Query, frozen=True):
    """The token to look for."""

    token: str


class ValidityAnswer(msgspec.Struct, frozen=True):
    """Whether a token could be used now."""

    valid: bool


class RegistrationRoutes:
    """`/register` and what clients ask before it."""

    def __init__(self, registration: Registration, tokens: RegistrationTokens) -> None:
        self._registration = registration
        self._tokens = tokens

    @endpoint(
        "POST",
        CLIENT_V3 / "register",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3register",
    )
    async def register(
        self, query: RegisterQuery, body: RegistrationForm, request: RequestFacts
    ) -> SessionAnswer:
        """Register for an account on this homeserver."""
        if query.kind == "guest":
            registered = await self._registration.register_guest(body)
        else:
            registered = await self._registration.register(body, request)
        if registered.session is not None:
            return session_answer(registered.session)
        user_id = registered.user_id
        return SessionAnswer(user_id=user_id, home_server=server_name_of(user_id))

    @endpoint(
        "GET",
        CLIENT_V3 / "register/available",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3registeravailable",
    )
    async def check_username_availability(self, query: AvailableQuery) -> AvailableAnswer:
        """Check to see if a username is available on the server."""
        await self._registration.check_available(query.username)
        return AvailableAnswer()

    @endpoint(
        "GET",
        CLIENT_V1 / "register/m.login.registration_token/validity",
        auth=Auth.NONE,
        # Whoever guesses tokens gets no further here than with registrations.
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity",
    )
    async def registration_token_validity(self, query: ValidityQuery) -> ValidityAnswer:
        """Query if a given registration token is still valid."""
        self._registration.require_open()
        return ValidityAnswer(await self._tokens.is_valid(query.token))
