"""Requests of other servers: whether who is said to send them has signed them.

Spec: server-server-api/#request-authentication
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from federation.keys.key_ring import KeyRing
from federation.policy import FederationPolicy
from federation.transport.destinations import Destinations
from federation.x_matrix import (
    InvalidAuthorization,
    XMatrix,
    is_x_matrix,
    read_authorization,
    signed_object,
)
from homeserver.errors import Forbidden, Unauthorized
from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import verify_json
from homeserver.telemetry.log import get_logger
from homeserver.web.authenticators import SignedRequest

log = get_logger(__name__)

# Servers send a header for each of their keys.
_MAX_HEADERS: Final = 4


class SignedRequests:
    """Verifies the signatures of requests: the port `ServerSignatures`."""

    def __init__(
        self,
        *,
        own_name: ServerName,
        policy: FederationPolicy,
        ring: KeyRing,
        destinations: Destinations,
    ) -> None:
        self._own_name = own_name
        self._policy = policy
        self._ring = ring
        self._destinations = destinations

    async def check_signer(self, authorization: tuple[str, ...]) -> None:
        """Refuse a request whose origin has no key that could have signed it.

        Raises Unauthorized, Forbidden, KeysBusy.
        """
        for each in self._claims(authorization):
            if await self._ring.request_key(each.origin, each.key_id) is not None:
                return
            log.info("no valid key for a request", origin=each.origin, key_id=each.key_id)
        raise Unauthorized("The request is not signed with a valid key of the origin")

    async def authenticate(self, request: SignedRequest) -> ServerName:
        """Return the server that signed. Raises Unauthorized, Forbidden, KeysBusy."""
        for each in self._claims(request.authorization):
            if await self._is_signed(each, request):
                await self._destinations.spoke(each.origin)
                return each.origin
        raise Unauthorized("The request is not signed with a valid key of the origin")

    def _claims(self, authorization: Sequence[str]) -> list[XMatrix]:
        """Read the headers. Raises Unauthorized, Forbidden."""
        headers = [each for each in authorization if is_x_matrix(each)]
        if not headers:
            raise Unauthorized("The request has no X-Matrix signature")
        claims = [self._read(header) for header in headers[:_MAX_HEADERS]]
        origin = claims[0].origin
        if any(each.origin != origin for each in claims):
            raise Unauthorized("The signatures are of different servers")
        # Before a key is fetched: what is blocked is not contacted either.
        if not self._policy.may_talk_to(origin):
            raise Forbidden("This server does not talk with yours")
        return claims

    def _read(self, header: str) -> XMatrix:
        try:
            claims = read_authorization(header)
        except InvalidAuthorization as error:
            raise Unauthorized(f"The Authorization header is not valid: {error}") from None
        # "If this property is included, but the value does not match the receiving server's
        # name, the receiving server must deny the request with … 401 Unauthorized."
        if claims.destination is not None and claims.destination != self._own_name:
            raise Unauthorized("The request is meant for another server")
        return claims

    async def _is_signed(self, claims: XMatrix, request: SignedRequest) -> bool:
        """Whether the origin has made a signature, with a key that is valid now."""
        key = await self._ring.request_key(claims.origin, claims.key_id)
        if key is None:
            log.info("no valid key for a request", origin=claims.origin, key_id=claims.key_id)
            return False
        signed = signed_object(
            claims, method=request.method, uri=request.uri, content=request.content
        )
        return await asyncio.to_thread(_verifies, signed, claims, key.key)


def _verifies(signed: JsonObject, claims: XMatrix, key: str) -> bool:
    try:
        verify_json(signed, claims.origin, claims.key_id, key)
    except BadSignature as error:
        log.warning("request with a bad signature", origin=claims.origin, reason=str(error))
        return False
    return True
