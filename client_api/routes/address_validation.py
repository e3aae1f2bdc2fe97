"""Verifying addresses: requests for mail, and the pages that its links lead to.

Spec: client-server-api/#adding-account-administrative-contact-information
"""

from typing import Final

from msgspec import Struct

from client_api.forms import read_form
from homeserver.errors import ThreepidMediumNotSupported
from homeserver.services.confirmation_pages import ConfirmationPages
from homeserver.services.registration import Registration
from homeserver.services.validation_sessions import EmailTokenForm, Purpose, ValidationSessions
from homeserver.web.answers import Page, Redirect
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query, Upload
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3

_NO_PHONES: Final = "This server does not verify phone numbers"


class PhoneTokenForm(Body, frozen=True):
    """What a client sends to have a phone number verified."""

    client_secret: str
    country: str
    phone_number: str
    send_attempt: int
    next_link: str | None = None


class SessionAnswer(Struct, frozen=True):
    """The session. There is no `submit_url`: the link in the mail does it all."""

    sid: str


class LinkQuery(Query, frozen=True):
    """What a link in a mail carries."""

    sid: str = ""
    token: str = ""


class AddressValidationRoutes:
    """The six `requestToken` endpoints, and the confirmation in a browser."""

    def __init__(
        self, validations: ValidationSessions, registration: Registration, pages: ConfirmationPages
    ) -> None:
        self._validations = validations
        self._registration = registration
        self._pages = pages

    @endpoint(
        "POST",
        CLIENT_V3 / "register/email/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3registeremailrequesttoken",
    )
    async def request_token_to_register_email(self, body: EmailTokenForm) -> SessionAnswer:
        """Begin the validation of an email to be used during registration."""
        self._registration.require_open()
        return SessionAnswer(await self._validations.begin(body, Purpose.REGISTER))

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/email/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3account3pidemailrequesttoken",
    )
    async def request_token_to_3pid_email(self, body: EmailTokenForm) -> SessionAnswer:
        """Begin the validation of an email address to be added to an account."""
        return SessionAnswer(await self._validations.begin(body, Purpose.ADD))

    @endpoint(
        "POST",
        CLIENT_V3 / "account/password/email/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken",
    )
    async def request_token_to_reset_password_email(self, body: EmailTokenForm) -> SessionAnswer:
        """Request a mail for the purpose of resetting a password."""
        return SessionAnswer(await self._validations.begin(body, Purpose.RESET_PASSWORD))

    @endpoint(
        "POST",
        CLIENT_V3 / "register/msisdn/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3registermsisdnrequesttoken",
    )
    async def request_token_to_register_msisdn(self, body: PhoneTokenForm) -> SessionAnswer:
        """Refuse: this server sends no text messages."""
        raise ThreepidMediumNotSupported(_NO_PHONES)

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/msisdn/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3account3pidmsisdnrequesttoken",
    )
    async def request_token_to_3pid_msisdn(self, body: PhoneTokenForm) -> SessionAnswer:
        """Refuse: this server sends no text messages."""
        raise ThreepidMediumNotSupported(_NO_PHONES)

    @endpoint(
        "POST",
        CLIENT_V3 / "account/password/msisdn/requestToken",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="client-server-api/#post_matrixclientv3accountpasswordmsisdnrequesttoken",
    )
    async def request_token_to_reset_password_msisdn(self, body: PhoneTokenForm) -> SessionAnswer:
        """Refuse: this server sends no text messages."""
        raise ThreepidMediumNotSupported(_NO_PHONES)

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / "org.homeserver/email/confirm",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="ours/#e-mail",
    )
    async def get_confirmation_page(self, query: LinkQuery) -> Page:
        """Get the page to which the link in a mail leads; it changes nothing by itself."""
        return await self._pages.show(query.sid, query.token)

    @endpoint(
        "POST",
        CLIENT_UNSTABLE / "org.homeserver/email/confirm",
        auth=Auth.NONE,
        rate_limit=RateLimit.REGISTRATION,
        spec="ours/#e-mail",
    )
    async def post_confirmation_page(self, query: LinkQuery, upload: Upload) -> Page | Redirect:
        """Confirm an e-mail address with the page's form."""
        fields = await read_form(upload)
        sid, token = fields.get("sid", query.sid), fields.get("token", query.token)
        return await self._pages.confirm(sid, token)
