"""Central Authentication Service, protocol versions 2 and 3."""

from typing import Final
from urllib.parse import urlencode

from homeserver.config.sections.single_sign_on import CasProvider
from homeserver.errors import RemoteError
from homeserver.services.single_sign_on.cas_answer import InvalidCasAnswer, parse_cas_answer
from homeserver.services.single_sign_on.oidc_metadata import UNREACHABLE
from homeserver.services.single_sign_on.provider import (
    CallbackQuery,
    Challenge,
    ProvenIdentity,
    SignInFailed,
    subject_of,
)
from homeserver.web.outgoing_http import OutgoingHttp

_VALIDATION: Final = {2: "serviceValidate", 3: "p3/serviceValidate"}
_SHOWN_CODE: Final = 60


class CentralAuthentication:
    """One CAS."""

    def __init__(self, settings: CasProvider, http: OutgoingHttp, *, callback_url: str) -> None:
        self.settings: Final = settings
        self._http = http
        self._callback_url = callback_url
        self._server_url = settings.server_url.rstrip("/")

    async def address_of_login(self, challenge: Challenge) -> str:
        """Return the page where users log in."""
        return f"{self._server_url}/login?{urlencode(self._question(challenge))}"

    async def identify(self, query: CallbackQuery, challenge: Challenge) -> ProvenIdentity:
        """Have the ticket validated and return whose it is. Raises SignInFailed."""
        if not query.ticket:
            raise SignInFailed(
                "The provider's answer is incomplete", status=400, reason="no ticket"
            )
        fields = {**self._question(challenge), "ticket": query.ticket}
        path = _VALIDATION[self.settings.protocol_version]
        try:
            raw = await self._http.get_bytes(f"{self._server_url}/{path}?{urlencode(fields)}")
            verdict = parse_cas_answer(raw)
        except RemoteError as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=error.reason) from error
        except InvalidCasAnswer as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=str(error)) from error
        if verdict.user is None:
            raise SignInFailed(
                "The provider has not logged you in", reason=verdict.code[:_SHOWN_CODE]
            )
        claims = {**verdict.attributes, "user": verdict.user}
        return ProvenIdentity(subject_of(verdict.user), claims)

    def _question(self, challenge: Challenge) -> dict[str, str]:
        # The ticket is good for this address only, which so binds it to the browser.
        service = f"{self._callback_url}?{urlencode({'state': challenge.state})}"
        return {"service": service, **({"renew": "true"} if challenge.is_fresh_proof else {})}
