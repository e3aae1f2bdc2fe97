"""Who has an access token. Spec: client-server-api/#using-access-tokens"""

import hashlib

from homeserver.errors import UnknownToken
from homeserver.services.account_changes import AccountChanges
from homeserver.services.last_seen import LastSeen
from homeserver.services.token_cache import CachedToken, TokenCache
from homeserver.storage import access_tokens, refresh_tokens
from homeserver.storage.access_tokens import AccessTokenRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import TOKENS_REVOKED
from homeserver.telemetry.clock import Clock
from homeserver.web.authenticators import Assertion
from homeserver.web.params import RequestFacts
from homeserver.web.requester import Requester


class AccessTokens:
    """Authenticates requests by the access tokens of local users.

    Implements `homeserver.web.authenticators.AccessTokens`, without application services.
    """

    def __init__(
        self,
        database: Database,
        cache: TokenCache,
        changes: AccountChanges,
        last_seen: LastSeen,
        clock: Clock,
    ) -> None:
        self._database = database
        self._cache = cache
        self._changes = changes
        self._last_seen = last_seen
        self._clock = clock

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        """Return who has the token, and note that the device was seen.

        `assertion` means nothing with the tokens of users. Raises UnknownToken: with a soft
        logout when the token has expired.
        """
        token_hash = hash_token(token)
        known = self._cache.get(token_hash) or await self._look_up(token_hash)
        self._refuse_expired(known.expires_ts)
        requester = known.requester
        if requester.device_id is not None:
            self._last_seen.note(requester.user_id, requester.device_id, request)
        return requester

    async def _look_up(self, token_hash: bytes) -> CachedToken:
        generation = self._cache.generation
        row = await self._read(token_hash)
        if row.supersedes and not self._is_expired(row.expires_ts):
            await self._begin_use(row)
            # Between the two, a repeated exchange may have replaced this token.
            generation = self._cache.generation
            row = await self._read(token_hash)
        token = CachedToken(_requester_of(row), row.expires_ts)
        self._cache.put(token_hash, token, generation=generation)
        return token

    async def _read(self, token_hash: bytes) -> AccessTokenRow:
        async with self._database.connection("authenticate") as connection:
            row = await access_tokens.token_of(connection, token_hash)
        if row is None:
            raise UnknownToken
        return row

    async def _begin_use(self, row: AccessTokenRow) -> None:
        """End the tokens that this one was exchanged for: it is used for the first time.

        Spec: client-server-api/#refreshing-access-tokens
        """
        refresh_nid = row.refresh_nid
        assert refresh_nid is not None
        now_ms = self._clock.now_ms()

        async def work(tx: Transaction) -> int | None:
            if not await supersede(tx, refresh_nid, now_ms):
                return None
            return await append_user_change(
                tx, row.user_id, TOKENS_REVOKED, device_id=row.device_id
            )

        position = await self._database.run_transaction(work, "begin_use_of_token")
        if position is not None:
            await self._changes.committed(row.user_id, position)

    def _refuse_expired(self, expires_ts: int | None) -> None:
        if self._is_expired(expires_ts):
            raise UnknownToken("The access token has expired", soft_logout=True)

    def _is_expired(self, expires_ts: int | None) -> bool:
        return expires_ts is not None and expires_ts <= self._clock.now_ms()


def hash_token(token: str) -> bytes:
    """Return what is stored of a token; any text from outside has a hash."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


async def supersede(tx: Transaction, refresh_nid: int, now_ms: int) -> bool:
    """End the tokens that were exchanged for this refresh token; False: there are none."""
    old_nid = await refresh_tokens.supersede(tx, refresh_nid, now_ms)
    if old_nid is None:
        return False
    await access_tokens.delete_of_refresh(tx, old_nid)
    return True


def _requester_of(row: AccessTokenRow) -> Requester:
    return Requester(
        user_id=row.user_id,
        device_id=row.device_id,
        access_token_nid=row.token_nid,
        is_guest=row.is_guest,
        is_admin=row.is_admin,
        is_locked=row.is_locked,
        is_suspended=row.is_suspended,
    )
