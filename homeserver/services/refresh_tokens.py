"""Exchanging refresh tokens, so that a stolen one is noticed.

Spec: client-server-api/#refreshing-access-tokens
"""

from typing import Final

from homeserver.errors import UnknownToken, UserLocked
from homeserver.services.access_tokens import hash_token, supersede
from homeserver.services.account_changes import AccountChanges
from homeserver.services.sessions import revoke_tokens_of_device
from homeserver.services.token_issue import IssuedTokens, TokenIssuer
from homeserver.storage import accounts, refresh_tokens
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.storage.refresh_tokens import RefreshTokenRow
from homeserver.streams.entries import TOKENS_REVOKED
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# How long the reuse of an old token is still told from a token that never was.
REMEMBER_SUPERSEDED_MS: Final = 30 * 24 * 3600 * 1000


class RefreshTokens:
    """Exchanges refresh tokens for new pairs of tokens.

    A token may be exchanged again while nothing that it gave has been used: the answer may have
    been lost. Once something was used the token is spent, and showing it again means that two
    have it: the session ends, and whoever is right logs in again.
    """

    def __init__(
        self, database: Database, issuer: TokenIssuer, changes: AccountChanges, clock: Clock
    ) -> None:
        self._database = database
        self._issuer = issuer
        self._changes = changes
        self._clock = clock

    async def exchange(self, refresh_token: str) -> IssuedTokens:
        """Return new tokens. Raises UnknownToken, UserLocked."""
        token_hash = hash_token(refresh_token)

        async def work(tx: Transaction) -> tuple[RefreshTokenRow, IssuedTokens | None, int | None]:
            return await self._exchange(tx, token_hash)

        row, tokens, position = await self._database.run_transaction(work, "refresh")
        if position is not None:
            await self._changes.committed(row.user_id, position)
        if tokens is None:
            log.warning("refresh token reused", user_id=row.user_id, device_id=row.device_id)
            raise UnknownToken("The refresh token was used before", soft_logout=True)
        return tokens

    async def _exchange(
        self, tx: Transaction, token_hash: bytes
    ) -> tuple[RefreshTokenRow, IssuedTokens | None, int | None]:
        """Return the token, what it gave, and a position to announce; no tokens: reused."""
        row = await self._lock(tx, token_hash)
        if row.superseded_ts is not None:
            await revoke_tokens_of_device(tx, row.user_id, row.device_id)
            return row, None, await _append_revocation(tx, row)
        now_ms = self._clock.now_ms()
        if row.expires_ts is not None and row.expires_ts <= now_ms:
            raise UnknownToken("The refresh token has expired", soft_logout=True)
        if row.next_nid is not None:
            # Nothing of the first answer was used: it never arrived.
            await refresh_tokens.delete(tx, row.next_nid)
        ends_older = await supersede(tx, row.refresh_nid, now_ms)
        tokens = await self._issuer.issue(tx, row.user_id, row.device_id, now_ms, can_refresh=True)
        assert tokens.refresh_nid is not None
        await refresh_tokens.set_next(tx, row.refresh_nid, tokens.refresh_nid)
        position = await _append_revocation(tx, row) if ends_older else None
        return row, tokens, position

    async def _lock(self, tx: Transaction, token_hash: bytes) -> RefreshTokenRow:
        # The account is locked before the token, as in a login and in a deactivation.
        owner = await refresh_tokens.owner_of(tx, token_hash)
        if owner is None:
            raise UnknownToken("Unrecognised refresh token")
        account = await accounts.lock_account(tx, owner)
        row = await refresh_tokens.lock_token(tx, token_hash)
        if account is None or row is None:
            raise UnknownToken("Unrecognised refresh token")
        if account.is_locked:
            raise UserLocked
        return row


async def _append_revocation(tx: Transaction, row: RefreshTokenRow) -> int:
    return await append_user_change(tx, row.user_id, TOKENS_REVOKED, device_id=row.device_id)
