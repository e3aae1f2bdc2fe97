"""Tokens for m.login.token, by the SHA-256 of the token."""

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


async def insert(tx: Transaction, token_hash: bytes, user_id: str, expires_ts: int) -> None:
    """Issue a token that is valid until a time in milliseconds since 1970."""
    await tx.execute(
        "INSERT INTO login_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        token_hash,
        user_id,
        expires_ts,
    )


async def take(connection: Connection, token_hash: bytes, now_ms: int) -> UserID | None:
    """Use a token up and return whose it was; None: unknown, used or expired."""
    user_id = await connection.fetchval(
        """
        DELETE FROM login_tokens WHERE token_hash = $1 AND expires_ts > $2 RETURNING user_id
        """,
        token_hash,
        now_ms,
    )
    return UserID(user_id) if user_id is not None else None


async def delete_of_user(tx: Transaction, user_id: str) -> None:
    """Delete a user's tokens."""
    await tx.execute("DELETE FROM login_tokens WHERE user_id = $1", user_id)


async def delete_expired(connection: Connection, now_ms: int) -> None:
    """Forget expired tokens."""
    await connection.execute("DELETE FROM login_tokens WHERE expires_ts <= $1", now_ms)
