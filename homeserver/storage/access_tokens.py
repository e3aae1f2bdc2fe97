"""Access tokens, by the SHA-256 of the token."""

from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction


class NewAccessToken(NamedTuple):
    """A token to be issued; times in milliseconds since 1970, expires_ts None: never."""

    token_hash: bytes
    user_id: UserID
    device_id: DeviceID | None
    created_ts: int
    expires_ts: int | None
    refresh_nid: int | None = None


class AccessTokenRow(NamedTuple):
    """A token and the account that it acts for."""

    token_nid: int
    user_id: UserID
    device_id: DeviceID | None
    expires_ts: int | None
    refresh_nid: int | None
    # Whether an older refresh token waits for this access token to be used for the first time.
    supersedes: bool
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool


async def insert(tx: Transaction, token: NewAccessToken) -> None:
    """Issue a token."""
    await tx.execute(
        """
        INSERT INTO access_tokens (token_hash, user_id, device_id, created_ts, expires_ts,
                                   refresh_nid)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        *token,
    )


async def token_of(connection: Connection, token_hash: bytes) -> AccessTokenRow | None:
    """Look up a token, expired ones too."""
    row = await connection.fetchrow(
        """
        SELECT t.token_nid, t.user_id, t.device_id, t.expires_ts, t.refresh_nid,
               EXISTS (SELECT FROM refresh_tokens r
                       WHERE r.next_nid = t.refresh_nid AND r.superseded_ts IS NULL),
               u.is_guest, u.is_admin, u.is_locked, u.is_suspended
        FROM access_tokens t JOIN users u ON u.user_id = t.user_id
        WHERE t.token_hash = $1 AND u.deactivated_ts IS NULL
        """,
        token_hash,
    )
    return AccessTokenRow(*row) if row else None


async def delete(tx: Transaction, token_nid: int) -> bool:
    """Delete one token; False: it was gone."""
    row = await tx.fetchrow(
        "DELETE FROM access_tokens WHERE token_nid = $1 RETURNING token_nid", token_nid
    )
    return row is not None


async def delete_of_device(tx: Transaction, user_id: str, device_id: str) -> bool:
    """Delete a device's access tokens; False: it had none."""
    rows = await tx.fetch(
        "DELETE FROM access_tokens WHERE user_id = $1 AND device_id = $2 RETURNING token_nid",
        user_id,
        device_id,
    )
    return bool(rows)


async def delete_without_device(
    tx: Transaction, user_id: str, *, except_nid: int | None = None
) -> None:
    """Delete a user's tokens that belong to no device, or all of those but one."""
    await tx.execute(
        """
        DELETE FROM access_tokens
        WHERE user_id = $1 AND device_id IS NULL AND token_nid IS DISTINCT FROM $2
        """,
        user_id,
        except_nid,
    )


async def delete_of_refresh(tx: Transaction, refresh_nid: int) -> None:
    """Delete the access tokens that were issued with a refresh token."""
    await tx.execute("DELETE FROM access_tokens WHERE refresh_nid = $1", refresh_nid)
