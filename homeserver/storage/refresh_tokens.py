"""Refresh tokens, by the SHA-256 of the token: each chain belongs to one device."""

from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction


class NewRefreshToken(NamedTuple):
    """A token to be issued; times in milliseconds since 1970, expires_ts None: never."""

    token_hash: bytes
    user_id: UserID
    device_id: DeviceID
    created_ts: int
    expires_ts: int | None


class RefreshTokenRow(NamedTuple):
    """A token and its place in its chain."""

    refresh_nid: int
    user_id: UserID
    device_id: DeviceID
    expires_ts: int | None
    next_nid: int | None
    superseded_ts: int | None


async def insert(tx: Transaction, token: NewRefreshToken) -> int:
    """Issue a token and return its row number."""
    refresh_nid: int = await tx.fetchval(
        """
        INSERT INTO refresh_tokens (token_hash, user_id, device_id, created_ts, expires_ts)
        VALUES ($1, $2, $3, $4, $5) RETURNING refresh_nid
        """,
        *token,
    )
    return refresh_nid


async def owner_of(connection: Connection, token_hash: bytes) -> UserID | None:
    """Return whose token it is, expired and superseded ones too."""
    user_id = await connection.fetchval(
        "SELECT user_id FROM refresh_tokens WHERE token_hash = $1", token_hash
    )
    return UserID(user_id) if user_id is not None else None


async def lock_token(tx: Transaction, token_hash: bytes) -> RefreshTokenRow | None:
    """Look up a token, expired and superseded ones too, and keep others from exchanging it."""
    row = await tx.fetchrow(
        """
        SELECT refresh_nid, user_id, device_id, expires_ts, next_nid, superseded_ts
        FROM refresh_tokens WHERE token_hash = $1 FOR UPDATE
        """,
        token_hash,
    )
    return RefreshTokenRow(*row) if row else None


async def set_next(tx: Transaction, refresh_nid: int, next_nid: int) -> None:
    """Record what a token was exchanged for."""
    await tx.execute(
        "UPDATE refresh_tokens SET next_nid = $2 WHERE refresh_nid = $1", refresh_nid, next_nid
    )


async def supersede(tx: Transaction, next_nid: int, now_ms: int) -> int | None:
    """End the token that was exchanged for this one; None: there is none that still counts."""
    refresh_nid: int | None = await tx.fetchval(
        """
        UPDATE refresh_tokens SET superseded_ts = $2
        WHERE next_nid = $1 AND superseded_ts IS NULL RETURNING refresh_nid
        """,
        next_nid,
        now_ms,
    )
    return refresh_nid


async def delete(tx: Transaction, refresh_nid: int) -> None:
    """Delete a token with the access token that was issued with it."""
    await tx.execute("DELETE FROM refresh_tokens WHERE refresh_nid = $1", refresh_nid)


async def delete_of_device(tx: Transaction, user_id: str, device_id: str) -> bool:
    """Delete a device's refresh tokens, and the access tokens with them; False: it had none."""
    rows = await tx.fetch(
        "DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2 RETURNING refresh_nid",
        user_id,
        device_id,
    )
    return bool(rows)


async def delete_superseded(connection: Connection, before_ms: int) -> None:
    """Forget tokens that were superseded before a time."""
    await connection.execute("DELETE FROM refresh_tokens WHERE superseded_ts < $1", before_ms)
