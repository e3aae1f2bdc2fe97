"""Refreshing tokens. Spec: client-server-api/#refreshing-access-tokens"""

from msgspec import UNSET, Struct, UnsetType

from homeserver.services.refresh_tokens import RefreshTokens
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3


class RefreshBody(Body, frozen=True):
    """The token to exchange."""

    refresh_token: str


class RefreshAnswer(Struct, frozen=True):
    """What it was exchanged for."""

    access_token: str
    refresh_token: str | UnsetType = UNSET
    expires_in_ms: int | UnsetType = UNSET


class RefreshRoutes:
    """`/refresh`."""

    def __init__(self, refresh_tokens: RefreshTokens) -> None:
        self._refresh_tokens = refresh_tokens

    @endpoint(
        "POST",
        CLIENT_V3 / "refresh",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3refresh",
    )
    async def refresh(self, body: RefreshBody) -> RefreshAnswer:
        """Refresh an access token."""
        tokens = await self._refresh_tokens.exchange(body.refresh_token)
        return RefreshAnswer(
            tokens.access_token,
            UNSET if tokens.refresh_token is None else tokens.refresh_token,
            UNSET if tokens.expires_in_ms is None else tokens.expires_in_ms,
        )
