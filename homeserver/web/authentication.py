"""Who makes a request: tokens and signatures found, checked, and held against the endpoint."""

import msgspec
from aiohttp import web

from homeserver.errors import (
    Forbidden,
    GuestAccessForbidden,
    MissingToken,
    UserLocked,
    UserSuspended,
)
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonValue
from homeserver.web.authenticators import (
    NO_ASSERTION,
    AccessTokens,
    Assertion,
    ServerSignatures,
    SignedRequest,
)
from homeserver.web.connection import header_text
from homeserver.web.decoding import query_fields
from homeserver.web.endpoint import Auth, Endpoint
from homeserver.web.params import RequestFacts
from homeserver.web.requester import Requester


class Authentication:
    """Finds out who makes a request and whether the endpoint is open to them."""

    def __init__(self, tokens: AccessTokens, signatures: ServerSignatures) -> None:
        self._tokens = tokens
        self._signatures = signatures

    async def requester(
        self, endpoint: Endpoint, request: web.BaseRequest, query: str, facts: RequestFacts
    ) -> Requester | None:
        """Return who makes a client request; None without a token, where that is allowed.

        Raises MissingToken, UnknownToken, UserLocked, UserSuspended, GuestAccessForbidden,
        Forbidden.
        """
        if endpoint.auth is Auth.NONE:
            return None
        authorization = header_text(request.headers.get("Authorization", ""))
        token, assertion = _credentials(authorization, query)
        if token is None:
            if endpoint.auth is Auth.OPTIONAL:
                return None
            raise MissingToken
        requester = await self._tokens.authenticate(token, assertion=assertion, request=facts)
        _check_open_to(requester, endpoint)
        return requester

    async def check_signer(self, request: web.BaseRequest) -> None:
        """Refuse a request of a server before its body is read.

        Raises Unauthorized, Forbidden, MatrixError 503.
        """
        await self._signatures.check_signer(_authorization(request))

    async def origin(
        self,
        request: web.BaseRequest,
        uri: str,
        content: JsonValue | msgspec.UnsetType,
    ) -> ServerName:
        """Return the server that signed a request. Raises Unauthorized, Forbidden."""
        signed = SignedRequest(
            method=request.method,
            uri=uri,
            authorization=_authorization(request),
            content=content,
        )
        return await self._signatures.authenticate(signed)


def _authorization(request: web.BaseRequest) -> tuple[str, ...]:
    return tuple(map(header_text, request.headers.getall("Authorization", ())))


def _credentials(authorization: str, query: str) -> tuple[str | None, Assertion]:
    """Find the token, and whom an application service says it acts as."""
    scheme, _, token = authorization.partition(" ")
    is_bearer = scheme.lower() == "bearer"
    if not query or (is_bearer and "user_id=" not in query and "device_id=" not in query):
        return (token.strip() or None if is_bearer else None), NO_ASSERTION
    # Of a repeated name the first value counts.
    fields = dict(reversed(query_fields(query)))
    # COMPAT(clients before v1.11): tokens in the query string, which end up in proxies' logs.
    found = token.strip() if is_bearer else fields.get("access_token")
    # COMPAT(application services before v1.17): the unstable name of `device_id`.
    device_id = fields.get("device_id", fields.get("org.matrix.msc3202.device_id"))
    user_id = fields.get("user_id")
    if user_id is None and device_id is None:
        return found or None, NO_ASSERTION
    return found or None, Assertion(user_id=user_id, device_id=device_id)


def _check_open_to(requester: Requester, endpoint: Endpoint) -> None:
    if requester.is_locked and not endpoint.while_locked:
        raise UserLocked
    if requester.is_suspended and not endpoint.while_suspended:
        raise UserSuspended
    if requester.is_guest and not endpoint.guests:
        raise GuestAccessForbidden
    if endpoint.auth is Auth.APPSERVICE_TOKEN and requester.appservice_id is None:
        raise Forbidden("Only application services may do this")
    if endpoint.admin and not requester.is_admin:
        raise Forbidden("Only administrators of this server may do this")
