"""Making access and refresh tokens for a device."""

import secrets
from typing import NamedTuple

from homeserver.config.sections.sessions import SessionsSection
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.access_tokens import hash_token
from homeserver.storage import access_tokens, refresh_tokens
from homeserver.storage.access_tokens import NewAccessToken
from homeserver.storage.database import Transaction
from homeserver.storage.refresh_tokens import NewRefreshToken


class IssuedTokens(NamedTuple):
    """Tokens as the client gets them; they are stored as hashes only."""

    access_token: str
    # None: the access token cannot be refreshed.
    refresh_token: str | None
    # None: until it is logged out.
    expires_in_ms: int | None
    refresh_nid: int | None


class TokenIssuer:
    """Issues tokens with the lifetimes that are configured."""

    def __init__(self, settings: SessionsSection) -> None:
        self._settings = settings

    async def issue(
        self,
        tx: Transaction,
        user_id: UserID,
        device_id: DeviceID,
        now_ms: int,
        *,
        can_refresh: bool,
    ) -> IssuedTokens:
        """Issue an access token and, to clients that can use one, a refresh token."""
        refresh_token = refresh_nid = None
        lifetime_ms = self._settings.access_token_lifetime_ms
        if can_refresh:
            refresh_token = new_token("hsr")
            refresh_nid = await self._store_refresh_token(
                tx, refresh_token, user_id, device_id, now_ms
            )
            lifetime_ms = self._settings.refreshable_access_token_lifetime_ms
        access_token = new_token("hsa")
        await access_tokens.insert(
            tx,
            NewAccessToken(
                hash_token(access_token),
                user_id,
                device_id,
                now_ms,
                _end(now_ms, lifetime_ms),
                refresh_nid,
            ),
        )
        return IssuedTokens(access_token, refresh_token, lifetime_ms, refresh_nid)

    async def _store_refresh_token(
        self, tx: Transaction, token: str, user_id: UserID, device_id: DeviceID, now_ms: int
    ) -> int:
        expires_ts = _end(now_ms, self._settings.refresh_token_lifetime_ms)
        return await refresh_tokens.insert(
            tx, NewRefreshToken(hash_token(token), user_id, device_id, now_ms, expires_ts)
        )


def new_token(kind: str) -> str:
    """Return a token of 256 random bits; the kind in front lets scanners find leaked ones."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def _end(now_ms: int, lifetime_ms: int | None) -> int | None:
    return None if lifetime_ms is None else now_ms + lifetime_ms
