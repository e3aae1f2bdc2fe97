"""Tokens that let their bearers register.

Spec: client-server-api/#token-authenticated-registration
"""

import re
from typing import Final

from homeserver.errors import InvalidParam
from homeserver.storage import registration_tokens
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.registration_tokens import RegistrationTokenRow
from homeserver.telemetry.clock import Clock

# "an opaque string using the Opaque Identifier Grammar, with maximum length of 64 characters"
_TOKEN: Final = re.compile(r"[0-9A-Za-z._~-]{1,64}")


class RegistrationTokens:
    """Makes and counts registration tokens.

    A use is pending while a session has claimed it, and completed when the session registers.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, token: str, *, uses_allowed: int | None = None, expires_ts: int | None = None
    ) -> bool:
        """Make a token; False: there is one of that name. Raises InvalidParam."""
        if not _TOKEN.fullmatch(token):
            raise InvalidParam("A token has 1 to 64 of the characters A-Z, a-z, 0-9 and ._~-")
        async with self._database.transaction("create_registration_token") as tx:
            return await registration_tokens.insert(
                tx,
                token,
                self._clock.now_ms(),
                uses_allowed=uses_allowed,
                expires_ts=expires_ts,
            )

    async def is_valid(self, token: str) -> bool:
        """Whether somebody could register with the token now."""
        if not _TOKEN.fullmatch(token):
            return False
        async with self._database.connection("registration_token") as connection:
            row = await registration_tokens.token_of(connection, token)
            return row is not None and await self._has_uses(connection, row)

    async def claim(self, tx: Transaction, token: str) -> bool:
        """Whether a use is left; no other session can claim it until the transaction ends."""
        row = await registration_tokens.lock_token(tx, token)
        return row is not None and await self._has_uses(tx, row)

    async def _has_uses(self, connection: Connection, row: RegistrationTokenRow) -> bool:
        now_ms = self._clock.now_ms()
        if row.expires_ts is not None and row.expires_ts <= now_ms:
            return False
        if row.uses_allowed is None:
            return True
        pending = await registration_tokens.pending_uses(connection, row.token, now_ms)
        return row.uses_completed + pending < row.uses_allowed
