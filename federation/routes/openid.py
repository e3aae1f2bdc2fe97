"""Who has made an OpenID token. Spec: server-server-api/#openid"""

import msgspec

from homeserver.errors import MissingToken, UnknownToken
from homeserver.protocol.identifiers import UserID
from homeserver.services.openid_tokens import OpenIDTokens
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import FEDERATION_V1


class TokenQuery(Query, frozen=True):
    """The token, no access token in spite of its name."""

    access_token: str = ""


class UserInfo(msgspec.Struct, frozen=True):
    """Whose token it is."""

    sub: UserID


class OpenIDRoutes:
    """The endpoint `openid/userinfo`."""

    def __init__(self, tokens: OpenIDTokens) -> None:
        self._tokens = tokens

    @endpoint(
        "GET",
        FEDERATION_V1 / "openid/userinfo",
        auth=Auth.NONE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1openiduserinfo",
    )
    async def get_userinfo(self, query: TokenQuery) -> UserInfo:
        """Exchange an OpenID token for the user who made it."""
        if not query.access_token:
            raise MissingToken("access_token is missing")
        owner = await self._tokens.owner(query.access_token)
        if owner is None:
            raise UnknownToken("Access token unknown or expired")
        return UserInfo(owner)
