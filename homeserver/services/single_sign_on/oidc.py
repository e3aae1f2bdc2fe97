"""OpenID Connect: the authorization code flow with PKCE."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from homeserver.config.sections.single_sign_on import OidcProvider
from homeserver.errors import RemoteError
from homeserver.services.single_sign_on.id_tokens import IdTokens
from homeserver.services.single_sign_on.oidc_metadata import UNREACHABLE, OidcMetadata
from homeserver.services.single_sign_on.provider import (
    CallbackQuery,
    Challenge,
    Claims,
    ProvenIdentity,
    SignInFailed,
    subject_of,
)
from homeserver.telemetry.clock import Clock
from homeserver.web.outgoing_http import OutgoingHttp

_FORM: Final = "application/x-www-form-urlencoded"
# Enough to see in a log what a provider complains about.
_SHOWN_ERROR: Final = 200


class OpenIdConnect:
    """One provider of OpenID Connect."""

    def __init__(
        self, settings: OidcProvider, http: OutgoingHttp, clock: Clock, *, callback_url: str
    ) -> None:
        self.settings: Final = settings
        self._http = http
        self._callback_url = callback_url
        self._metadata = OidcMetadata(settings, http, clock)
        self._id_tokens = IdTokens(settings, self._metadata, clock)

    async def address_of_login(self, challenge: Challenge) -> str:
        """Return the authorization request. Raises SignInFailed."""
        digest = hashlib.sha256(challenge.code_verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self._callback_url,
            "scope": " ".join(self.settings.scopes),
            "state": challenge.state,
            "nonce": challenge.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        if challenge.is_fresh_proof:
            query["prompt"] = "login"
        endpoint = (await self._metadata.addresses()).authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def identify(self, query: CallbackQuery, challenge: Challenge) -> ProvenIdentity:
        """Exchange the code and return whom its ID token names. Raises SignInFailed."""
        if query.iss is not None and query.iss != self.settings.issuer:
            raise SignInFailed("Another provider has answered", reason="wrong iss (RFC 9207)")
        if query.error is not None:
            reason = f"{query.error}: {query.error_description}"[:_SHOWN_ERROR]
            raise SignInFailed("The provider has not logged you in", reason=reason)
        if not query.code:
            raise SignInFailed("The provider's answer is incomplete", status=400, reason="no code")
        tokens = await self._exchange(query.code, challenge.code_verifier)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise SignInFailed(UNREACHABLE, status=502, reason="no ID token")
        claims = await self._id_tokens.verify(id_token, challenge.nonce)
        if self.settings.userinfo_enabled:
            claims = {**await self._userinfo(tokens, claims), **claims}
        return ProvenIdentity(subject_of(claims.get(self.settings.subject_claim)), claims)

    async def _exchange(self, code: str, code_verifier: str) -> Mapping[str, Any]:
        settings, headers = self.settings, {"Accept": "application/json"}
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback_url,
            "code_verifier": code_verifier,
        }
        secret = settings.client_secret.reveal() if settings.client_secret is not None else None
        if secret is not None and settings.client_authentication == "client_secret_basic":
            # RFC 6749 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            fields["client_id"] = settings.client_id
            if secret is not None:
                fields["client_secret"] = secret
        endpoint = (await self._metadata.addresses()).token_endpoint
        try:
            answer = await self._http.request_json(
                "POST",
                endpoint,
                body=urlencode(fields).encode(),
                headers=headers,
                content_type=_FORM,
            )
        except RemoteError as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=error.reason) from error
        content = answer.content
        if answer.status >= 500 or not isinstance(content, dict):
            raise SignInFailed(UNREACHABLE, status=502, reason=f"token: {answer.status}")
        if answer.status != 200:
            reason = f"token: {content.get('error')}"[:_SHOWN_ERROR]
            raise SignInFailed("The provider has not logged you in", reason=reason)
        return content

    async def _userinfo(self, tokens: Mapping[str, Any], claims: Claims) -> Claims:
        endpoint = (await self._metadata.addresses()).userinfo_endpoint
        access_token = tokens.get("access_token")
        if endpoint is None or not isinstance(access_token, str):
            raise SignInFailed(UNREACHABLE, status=502, reason="no userinfo endpoint, or token")
        headers = {"Authorization": f"Bearer {access_token}"}
        try:
            answer = await self._http.request_json("GET", endpoint, headers=headers)
        except RemoteError as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=error.reason) from error
        if answer.status != 200 or not isinstance(answer.content, dict):
            raise SignInFailed(UNREACHABLE, status=502, reason=f"userinfo: {answer.status}")
        # OpenID Connect Core 5.3.2: "MUST be verified to exactly match".
        if answer.content.get("sub") != claims.get("sub"):
            raise SignInFailed(
                "What the provider has sent cannot be trusted", reason="userinfo of another user"
            )
        return answer.content
