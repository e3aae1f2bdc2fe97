"""OpenID. Spec: client-server-api/#openid"""

from homeserver.protocol.identifiers import UserID
from homeserver.services.openid_tokens import OpenIDToken, OpenIDTokens
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class OpenIDPath(Params, frozen=True):
    """Who wants to be known."""

    user_id: UserID


class OpenIDBody(Body, frozen=True):
    """Reserved: "An empty object."."""


class OpenIDRoutes:
    """`/user/{userId}/openid/request_token`."""

    def __init__(self, tokens: OpenIDTokens) -> None:
        self._tokens = tokens

    @endpoint(
        "POST",
        CLIENT_V3 / "user/{user_id}/openid/request_token",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3useruseridopenidrequest_token",
    )
    async def request_openid_token(
        self, requester: Requester, path: OpenIDPath, body: OpenIDBody
    ) -> OpenIDToken:
        """Get an OpenID token object to verify the requester's identity."""
        return await self._tokens.make(requester, path.user_id)
