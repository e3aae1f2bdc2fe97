"""Tokens that administrators hand out to those who may register."""

from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class RegistrationTokenRow(NamedTuple):
    """One token; uses_allowed None: any number; expires_ts None: never."""

    token: str
    created_ts: int
    uses_allowed: int | None
    uses_completed: int
    expires_ts: int | None


async def insert(
    tx: Transaction, token: str, now_ms: int, *, uses_allowed: int | None, expires_ts: int | None
) -> bool:
    """Make a token; False: there is one of that name."""
    row = await tx.fetchrow(
        """
        INSERT INTO registration_tokens (token, created_ts, uses_allowed, expires_ts)
        VALUES ($1, $2, $3, $4) ON CONFLICT (token) DO NOTHING RETURNING token
        """,
        token,
        now_ms,
        uses_allowed,
        expires_ts,
    )
    return row is not None


async def token_of(connection: Connection, token: str) -> RegistrationTokenRow | None:
    """Read a token."""
    row = await connection.fetchrow(
        """
        SELECT token, created_ts, uses_allowed, uses_completed, expires_ts
        FROM registration_tokens WHERE token = $1
        """,
        token,
    )
    return RegistrationTokenRow(*row) if row else None


async def lock_token(tx: Transaction, token: str) -> RegistrationTokenRow | None:
    """Read a token and keep others from claiming it until the transaction ends."""
    row = await tx.fetchrow(
        """
        SELECT token, created_ts, uses_allowed, uses_completed, expires_ts
        FROM registration_tokens WHERE token = $1 FOR UPDATE
        """,
        token,
    )
    return RegistrationTokenRow(*row) if row else None


async def pending_uses(connection: Connection, token: str, now_ms: int) -> int:
    """Count the live sessions that have claimed a use of a token and not registered yet."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM uia_stages s JOIN uia_sessions u ON u.session_hash = s.session_hash
        WHERE s.stage = 'm.login.registration_token' AND s.proof = $1
          AND u.registered_user_id IS NULL AND u.expires_ts > $2
        """,
        token,
        now_ms,
    )
    return count


async def complete_use(tx: Transaction, token: str) -> None:
    """Count a registration; a token that was deleted meanwhile counts nothing."""
    await tx.execute(
        "UPDATE registration_tokens SET uses_completed = uses_completed + 1 WHERE token = $1",
        token,
    )


async def delete(tx: Transaction, token: str) -> bool:
    """Delete a token; False: there is none."""
    row = await tx.fetchrow(
        "DELETE FROM registration_tokens WHERE token = $1 RETURNING token", token
    )
    return row is not None
