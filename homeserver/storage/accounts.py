"""Local accounts: who exists, how they prove it, and what they may do."""

from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


class AccountRow(NamedTuple):
    """One local account."""

    user_id: UserID
    created_ts: int
    password_hash: str | None
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool
    appservice_id: str | None
    user_type: str | None
    deactivated_ts: int | None
    is_erased: bool


class NewAccountRow(NamedTuple):
    """An account to be made."""

    user_id: UserID
    created_ts: int
    password_hash: str | None = None
    is_guest: bool = False
    is_admin: bool = False
    appservice_id: str | None = None
    user_type: str | None = None


async def insert(tx: Transaction, account: NewAccountRow) -> bool:
    """Make an account; False: the user ID is taken, by a deactivated account too."""
    row = await tx.fetchrow(
        """
        INSERT INTO users (user_id, created_ts, password_hash, is_guest, is_admin,
                           appservice_id, user_type)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id) DO NOTHING RETURNING user_id
        """,
        *account,
    )
    return row is not None


async def account_of(connection: Connection, user_id: str) -> AccountRow | None:
    """Read an account, deactivated ones too."""
    row = await connection.fetchrow(
        """
        SELECT user_id, created_ts, password_hash, is_guest, is_admin, is_locked, is_suspended,
               appservice_id, user_type, deactivated_ts, is_erased
        FROM users WHERE user_id = $1
        """,
        user_id,
    )
    return AccountRow(*row) if row else None


async def lock_account(tx: Transaction, user_id: str) -> AccountRow | None:
    """Read an account and keep it as it is until the transaction ends."""
    row = await tx.fetchrow(
        """
        SELECT user_id, created_ts, password_hash, is_guest, is_admin, is_locked, is_suspended,
               appservice_id, user_type, deactivated_ts, is_erased
        FROM users WHERE user_id = $1 FOR SHARE
        """,
        user_id,
    )
    return AccountRow(*row) if row else None


async def set_password(tx: Transaction, user_id: str, password_hash: str) -> bool:
    """Replace the password; False: there is no such active account."""
    row = await tx.fetchrow(
        """
        UPDATE users SET password_hash = $2
        WHERE user_id = $1 AND deactivated_ts IS NULL RETURNING user_id
        """,
        user_id,
        password_hash,
    )
    return row is not None


async def rehash_password(connection: Connection, user_id: str, old: str, new: str) -> None:
    """Store the same password with another hash, unless the password has changed since."""
    await connection.execute(
        "UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
        user_id,
        old,
        new,
    )


async def upgrade_guest(tx: Transaction, user_id: str, password_hash: str) -> bool:
    """Make a full account of a guest's; False: there is no such active guest."""
    row = await tx.fetchrow(
        """
        UPDATE users SET is_guest = false, password_hash = $2
        WHERE user_id = $1 AND is_guest AND deactivated_ts IS NULL RETURNING user_id
        """,
        user_id,
        password_hash,
    )
    return row is not None


async def set_admin(tx: Transaction, user_id: str, *, is_admin: bool) -> bool:
    """Make a user an administrator, or not; False: there is no such account."""
    row = await tx.fetchrow(
        "UPDATE users SET is_admin = $2 WHERE user_id = $1 RETURNING user_id", user_id, is_admin
    )
    return row is not None


async def set_locked(tx: Transaction, user_id: str, *, is_locked: bool) -> bool:
    """Lock or unlock an account; False: there is no such account."""
    row = await tx.fetchrow(
        "UPDATE users SET is_locked = $2 WHERE user_id = $1 RETURNING user_id", user_id, is_locked
    )
    return row is not None


async def set_suspended(tx: Transaction, user_id: str, *, is_suspended: bool) -> bool:
    """Suspend an account, or end that; False: there is no such account."""
    row = await tx.fetchrow(
        "UPDATE users SET is_suspended = $2 WHERE user_id = $1 RETURNING user_id",
        user_id,
        is_suspended,
    )
    return row is not None


async def deactivate(tx: Transaction, user_id: str, now_ms: int, *, is_erased: bool) -> bool:
    """End an account for good; its rooms are still to be left. False: it was not active."""
    row = await tx.fetchrow(
        """
        UPDATE users SET deactivated_ts = $2, password_hash = NULL, is_leaving = true,
                         is_erased = is_erased OR $3
        WHERE user_id = $1 AND deactivated_ts IS NULL RETURNING user_id
        """,
        user_id,
        now_ms,
        is_erased,
    )
    return row is not None


async def leaving_users(connection: Connection, limit: int) -> list[UserID]:
    """List deactivated users who may still be in rooms."""
    rows = await connection.fetch(
        "SELECT user_id FROM users WHERE is_leaving ORDER BY user_id LIMIT $1", limit
    )
    return [UserID(row["user_id"]) for row in rows]


async def mark_left(connection: Connection, user_id: str) -> None:
    """Record that a deactivated user is out of all rooms."""
    await connection.execute("UPDATE users SET is_leaving = false WHERE user_id = $1", user_id)


async def accept_terms(
    tx: Transaction, user_id: str, versions: list[tuple[str, str]], now_ms: int
) -> None:
    """Record that a user has accepted policies, given as (policy ID, version)."""
    await tx.executemany(
        """
        INSERT INTO terms_acceptances (user_id, policy_id, policy_version, accepted_ts)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        [(user_id, policy_id, version, now_ms) for policy_id, version in versions],
    )


async def accepted_terms(connection: Connection, user_id: str) -> list[tuple[str, str]]:
    """List the policies that a user has accepted, as (policy ID, version)."""
    rows = await connection.fetch(
        """
        SELECT policy_id, policy_version FROM terms_acceptances
        WHERE user_id = $1 ORDER BY accepted_ts, policy_id, policy_version
        """,
        user_id,
    )
    return [(row["policy_id"], row["policy_version"]) for row in rows]
