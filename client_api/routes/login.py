"""Logging in. Spec: client-server-api/#legacy-login"""

import msgspec

from client_api.session_answers import SessionAnswer, session_answer
from homeserver.protocol.json_types import JsonObject
from homeserver.services.discovery import Discovery
from homeserver.services.login import Login, LoginForm
from homeserver.services.login_token_requests import (
    IssuedLoginToken,
    LoginTokenForm,
    LoginTokenRequests,
)
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import RequestFacts
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1, CLIENT_V3
from homeserver.web.requester import Requester


class LoginFlowsAnswer(msgspec.Struct, frozen=True):
    """The ways to log in."""

    flows: list[JsonObject]


class LoginRoutes:
    """`/login` and `/login/get_token`."""

    def __init__(
        self, login: Login, token_requests: LoginTokenRequests, discovery: Discovery
    ) -> None:
        self._login = login
        self._token_requests = token_requests
        self._discovery = discovery

    @endpoint(
        "GET",
        CLIENT_V3 / "login",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3login",
    )
    async def get_login_flows(self) -> LoginFlowsAnswer:
        """Get the supported login types to authenticate users."""
        return LoginFlowsAnswer(self._login.flows())

    @endpoint(
        "POST",
        CLIENT_V3 / "login",
        auth=Auth.NONE,
        rate_limit=RateLimit.LOGIN,
        spec="client-server-api/#post_matrixclientv3login",
    )
    async def log_in(self, body: LoginForm) -> SessionAnswer:
        """Authenticate the user and issue an access token."""
        session = await self._login.log_in(body)
        return session_answer(session, well_known=self._discovery.client())

    @endpoint(
        "POST",
        CLIENT_V1 / "login/get_token",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.LOGIN,
        # COMPAT(clients before v1.7): the name in MSC3882.
        also=(CLIENT_UNSTABLE / "org.matrix.msc3882/login/get_token",),
        spec="client-server-api/#post_matrixclientv1loginget_token",
    )
    async def generate_login_token(
        self, requester: Requester, body: LoginTokenForm, request: RequestFacts
    ) -> IssuedLoginToken:
        """Generate a single-use, time-limited, `m.login.token` token."""
        return await self._token_requests.issue(requester, body, request)
