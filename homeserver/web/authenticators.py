"""What the dispatch asks to find out who makes a request; services and federation answer it."""

from typing import Final, Protocol

import msgspec

from homeserver.errors import Unauthorized, UnknownToken
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonValue
from homeserver.web.params import RequestFacts
from homeserver.web.requester import Requester


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an application service says it acts as: unchecked text of the query string.

    With any other token these are parameters of the endpoint, or nothing.
    Spec: application-service-api/#identity-assertion
    """

    user_id: str | None = None
    device_id: str | None = None


NO_ASSERTION: Final = Assertion()


class AccessTokens(Protocol):
    """Knows the access tokens of users and application services."""

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        """Return who has the token. Locked users are returned; the dispatch refuses them.

        `token` is any text from outside. Raises UnknownToken, and for an assertion
        InvalidParam, Forbidden or UnknownDevice.
        """
        ...


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What another homeserver has signed. Spec: server-server-api/#request-authentication"""

    method: str
    # Path and query exactly as in the request line.
    uri: str
    # Every `Authorization` header, in order.
    authorization: tuple[str, ...]
    # The decoded body; UNSET for a request without one.
    content: JsonValue | msgspec.UnsetType = msgspec.UNSET


class ServerSignatures(Protocol):
    """Verifies the signatures of other homeservers."""

    async def check_signer(self, authorization: tuple[str, ...]) -> None:
        """Refuse a request before its body is read, by its `Authorization` headers.

        Raises Unauthorized: no server is named that has a valid key; Forbidden: this server does
        not talk with it; MatrixError 503: too many keys are fetched at this moment.
        """
        ...

    async def authenticate(self, request: SignedRequest) -> ServerName:
        """Return the server that signed. Raises Unauthorized, Forbidden."""
        ...


class NoAccessTokens:
    """Knows no token: for listeners that serve no client API, and for tests."""

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        """Raise UnknownToken."""
        raise UnknownToken


class NoServerSignatures:
    """Accepts no signature: for servers without federation, and for tests."""

    async def check_signer(self, authorization: tuple[str, ...]) -> None:
        """Raise Unauthorized."""
        raise Unauthorized("This server does not federate")

    async def authenticate(self, request: SignedRequest) -> ServerName:
        """Raise Unauthorized."""
        raise Unauthorized("This server does not federate")
