"""Forgetting what nobody can use any more."""

from homeserver.services.refresh_tokens import REMEMBER_SUPERSEDED_MS
from homeserver.storage import (
    login_tokens,
    openid_tokens,
    refresh_tokens,
    sign_in_flows,
    uia_sessions,
    validation_sessions,
)
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock


class ExpiredSecrets:
    """Deletes expired sessions and tokens; to be called every hour or so."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def delete(self) -> None:
        """Delete sessions of proofs of all kinds, login, OpenID and superseded refresh tokens."""
        now_ms = self._clock.now_ms()
        async with self._database.connection("delete_expired_secrets") as connection:
            await uia_sessions.delete_expired(connection, now_ms)
            await login_tokens.delete_expired(connection, now_ms)
            await validation_sessions.delete_expired(connection, now_ms)
            await sign_in_flows.delete_expired(connection, now_ms)
            await openid_tokens.delete_expired(connection, now_ms)
            await refresh_tokens.delete_superseded(connection, now_ms - REMEMBER_SUPERSEDED_MS)
