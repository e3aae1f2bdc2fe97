"""Cross-signing keys of local users, and what these have signed of others."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.device_keys import Usage
from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.device_keys import StoredKey


class CrossSigningRow(NamedTuple):
    """One cross-signing key."""

    user_id: UserID
    usage: Usage
    public_key: str
    key: StoredKey


class UserSignatureRow(NamedTuple):
    """What a signer has signed of somebody's master key: key ID → signature, as JSON."""

    target_id: UserID
    public_key: str
    signatures: bytes


async def keys_of_users(connection: Connection, user_ids: Sequence[str]) -> list[CrossSigningRow]:
    """Read the cross-signing keys of users."""
    rows = await connection.fetch(
        """
        SELECT user_id, usage, public_key, keys, signatures FROM cross_signing_keys
        WHERE user_id = ANY ($1::text[])
        """,
        list(user_ids),
    )
    return [
        CrossSigningRow(row[0], Usage(row[1]), row[2], StoredKey(row[3], row[4])) for row in rows
    ]


async def keys_of_user(connection: Connection, user_id: str) -> dict[Usage, CrossSigningRow]:
    """Read the cross-signing keys of one user."""
    return {row.usage: row for row in await keys_of_users(connection, [user_id])}


async def is_public_key(connection: Connection, user_id: str, text: str) -> bool:
    """Whether a cross-signing key of the user has this public key."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1 AND public_key = $2)",
        user_id,
        text,
    )
    return found


async def lock_user(tx: Transaction, user_id: str) -> None:
    """Keep other changes of a user's cross-signing keys waiting."""
    await tx.execute("SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id)


async def put(tx: Transaction, row: CrossSigningRow) -> None:
    """Give a user a key, or another one of its usage."""
    await tx.execute(
        """
        INSERT INTO cross_signing_keys (user_id, usage, public_key, keys, signatures)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id, usage) DO UPDATE
        SET public_key = excluded.public_key, keys = excluded.keys,
            signatures = excluded.signatures
        """,
        row.user_id,
        row.usage,
        row.public_key,
        *row.key,
    )


async def delete(tx: Transaction, user_id: str, usages: Sequence[Usage]) -> None:
    """Delete keys of a user that a new master key has not signed."""
    await tx.execute(
        "DELETE FROM cross_signing_keys WHERE user_id = $1 AND usage = ANY ($2::text[])",
        user_id,
        [str(usage) for usage in usages],
    )


async def delete_all(tx: Transaction, user_id: str) -> bool:
    """Delete all keys of a user and all that the user has signed; False: there was no key."""
    status = await tx.execute("DELETE FROM cross_signing_keys WHERE user_id = $1", user_id)
    await delete_signatures_by(tx, user_id)
    return not status.endswith(" 0")


async def delete_signatures_by(tx: Transaction, signer_id: str) -> None:
    """Delete what a user has signed of others: the key that has signed it is gone."""
    await tx.execute("DELETE FROM user_signatures WHERE signer_id = $1", signer_id)


async def signatures_by(
    connection: Connection, signer_id: str, target_ids: Sequence[str]
) -> list[UserSignatureRow]:
    """Read what a user has signed of some others' master keys."""
    rows = await connection.fetch(
        """
        SELECT target_id, public_key, signatures FROM user_signatures
        WHERE signer_id = $1 AND target_id = ANY ($2::text[])
        """,
        signer_id,
        list(target_ids),
    )
    return [UserSignatureRow(*row) for row in rows]


async def signed_after(connection: Connection, signer_id: str, after: int) -> set[UserID]:
    """Return whose keys a user has signed after a position."""
    rows = await connection.fetch(
        "SELECT target_id FROM user_signatures WHERE signer_id = $1 AND pos > $2", signer_id, after
    )
    return {UserID(row["target_id"]) for row in rows}


async def put_signatures_by(
    tx: Transaction, signer_id: str, rows: Sequence[UserSignatureRow], pos: int
) -> None:
    """Record what a user has signed of others' master keys; later signatures replace earlier."""
    await tx.execute(
        """
        INSERT INTO user_signatures (signer_id, target_id, public_key, signatures, pos)
        SELECT $1, n.target_id, n.public_key, n.signatures, $5
        FROM unnest($2::text[], $3::text[], $4::bytea[]) AS n (target_id, public_key, signatures)
        ON CONFLICT (signer_id, target_id) DO UPDATE
        SET public_key = excluded.public_key, signatures = excluded.signatures, pos = excluded.pos
        """,
        signer_id,
        [row.target_id for row in rows],
        [row.public_key for row in rows],
        [row.signatures for row in rows],
        pos,
    )
