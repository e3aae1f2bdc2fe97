"""Pages for what a client does not know.

Spec: client-server-api/#fallback, client-server-api/#login-fallback
"""

from client_api.forms import read_form
from homeserver.errors import MissingParam
from homeserver.protocol import uia
from homeserver.services.login_page import LoginPage
from homeserver.services.single_sign_on.confirmation import SsoConfirmation
from homeserver.services.uia_pages import UiaPages
from homeserver.web.answers import Page, Redirect
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query, RequestFacts, Upload
from homeserver.web.paths import CLIENT_V3


class StagePath(Params, frozen=True):
    """Which stage."""

    stage: str


class SessionQuery(Query, frozen=True):
    """Whose stage; a form may carry it instead."""

    session: str | None = None


class FallbackPageRoutes:
    """`/auth/{stage}/fallback/web` and `/_matrix/static/client/login/`."""

    def __init__(
        self, uia_pages: UiaPages, sso_confirmation: SsoConfirmation, login_page: LoginPage
    ) -> None:
        self._uia_pages = uia_pages
        self._sso_confirmation = sso_confirmation
        self._login_page = login_page

    @endpoint(
        "GET",
        CLIENT_V3 / "auth/{stage}/fallback/web",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#fallback",
    )
    async def get_stage_page(self, path: StagePath, query: SessionQuery) -> Page:
        """Get a page that completes a stage of user-interactive authentication."""
        if query.session is None:
            raise MissingParam("session is missing")
        if path.stage == uia.SSO:
            return await self._sso_confirmation.show(query.session)
        return await self._uia_pages.show(path.stage, query.session)

    @endpoint(
        "POST",
        CLIENT_V3 / "auth/{stage}/fallback/web",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#fallback",
    )
    async def post_stage_page(
        self, path: StagePath, query: SessionQuery, upload: Upload, request: RequestFacts
    ) -> Page | Redirect:
        """Complete a stage of user-interactive authentication with the page's form."""
        fields = await read_form(upload)
        session_id = fields.pop("session", query.session)
        if session_id is None:
            raise MissingParam("session is missing")
        if path.stage == uia.SSO:
            return await self._sso_confirmation.begin(fields, request.cookie)
        return await self._uia_pages.submit(path.stage, session_id, fields, request)

    @endpoint(
        "GET",
        "/_matrix/static/client/login/",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        # Without the slash a browser looks the same, and people type it.
        also=("/_matrix/static/client/login",),
        spec="client-server-api/#login-fallback",
    )
    async def get_login_page(self) -> Page:
        """Get a page that logs in, with a password or through a provider."""
        return self._login_page.show()
