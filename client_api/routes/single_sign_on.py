"""Login through providers of identities. Spec: client-server-api/#sso-client-loginauthentication"""

from typing import Literal

from client_api.forms import read_form
from homeserver.services.single_sign_on.provider import CallbackQuery
from homeserver.services.single_sign_on.sign_in import SignIn
from homeserver.web.answers import Page, Redirect
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query, RequestFacts, Upload
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3


class RedirectQuery(Query, frozen=True, rename="camel"):
    """Where the browser goes after the login."""

    redirect_url: str
    # Both lead to the same page: who has no account gets one.
    action: Literal["login", "register"] | None = None


class ProviderPath(Params, frozen=True):
    """Which provider."""

    provider_id: str


class SingleSignOnRoutes:
    """`/login/sso/redirect`, and what browsers see on the way back."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @endpoint(
        "GET",
        CLIENT_V3 / "login/sso/redirect",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        # COMPAT(clients of r0.4): "the endpoints are otherwise the same".
        also=(CLIENT_V3 / "login/cas/redirect",),
        spec="client-server-api/#get_matrixclientv3loginssoredirect",
    )
    async def redirect_to_sso(self, query: RedirectQuery) -> Page | Redirect:
        """Redirect the user's browser to the SSO interface."""
        return await self._sign_in.begin(query.redirect_url, None)

    @endpoint(
        "GET",
        CLIENT_V3 / "login/sso/redirect/{provider_id}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        # COMPAT(clients before v1.1): the name in MSC2858.
        also=(CLIENT_UNSTABLE / "org.matrix.msc2858/login/sso/redirect/{provider_id}",),
        spec="client-server-api/#get_matrixclientv3loginssoredirectidpid",
    )
    async def redirect_to_idp(self, path: ProviderPath, query: RedirectQuery) -> Page | Redirect:
        """Redirect the user's browser to the SSO interface for an IdP."""
        return await self._sign_in.begin(query.redirect_url, path.provider_id)

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / "org.homeserver/single_sign_on/callback",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="ours/#single-sign-on",
    )
    async def get_callback(self, query: CallbackQuery, request: RequestFacts) -> Page | Redirect:
        """Take a browser back from a provider."""
        return await self._sign_in.receive(query, request.cookie)

    @endpoint(
        "POST",
        CLIENT_UNSTABLE / "org.homeserver/single_sign_on/continue",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="ours/#single-sign-on",
    )
    async def post_continue(self, upload: Upload, request: RequestFacts) -> Page | Redirect:
        """Go on to the client, with a new account if need be, with the form of a page."""
        return await self._sign_in.go_on(await read_form(upload), request.cookie)
