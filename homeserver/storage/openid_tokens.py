"""Tokens by which third parties find out who a user is."""

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


async def insert(connection: Connection, token_hash: bytes, user_id: str, expires_ts: int) -> None:
    """Store a token that is good until `expires_ts`, in ms."""
    await connection.execute(
        "INSERT INTO openid_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        token_hash,
        user_id,
        expires_ts,
    )


async def owner_of(connection: Connection, token_hash: bytes, now_ms: int) -> UserID | None:
    """Return who has a token that is still good, unless the account has ended or is locked."""
    row = await connection.fetchrow(
        """
        SELECT u.user_id FROM openid_tokens t JOIN users u ON u.user_id = t.user_id
        WHERE t.token_hash = $1 AND t.expires_ts > $2
          AND u.deactivated_ts IS NULL AND NOT u.is_locked
        """,
        token_hash,
        now_ms,
    )
    return UserID(row["user_id"]) if row else None


async def delete_of_user(tx: Transaction, user_id: str) -> None:
    """Delete all tokens of a user."""
    await tx.execute("DELETE FROM openid_tokens WHERE user_id = $1", user_id)


async def delete_expired(connection: Connection, now_ms: int) -> None:
    """Delete the tokens that nobody can use any more."""
    await connection.execute("DELETE FROM openid_tokens WHERE expires_ts <= $1", now_ms)
