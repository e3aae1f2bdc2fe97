"""The push rules of users, as JSON of their differences to the defaults.

Spec: client-server-api/#push-rules
"""

from collections.abc import Collection

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


async def lock(tx: Transaction, user_id: str) -> None:
    """Let nobody else read and then write the user's rules until the transaction ends.

    Before anything takes a position: whoever waits here must not hold the log.
    """
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('push_rules ' || $1, 0))", user_id
    )


async def put(tx: Transaction, user_id: str, rules: bytes) -> int:
    """Replace a user's rules at a position of their own, which is returned.

    The last act of a transaction.
    """
    pos: int = await tx.fetchval(
        """
        WITH place AS (UPDATE log_head SET pos = pos + 1 RETURNING pos)
        INSERT INTO push_rules (user_id, rules, pos) SELECT $1, $2, place.pos FROM place
        ON CONFLICT (user_id) DO UPDATE SET rules = excluded.rules, pos = excluded.pos
        RETURNING pos
        """,
        user_id,
        rules,
    )
    return pos


async def rules_of(connection: Connection, user_id: str) -> bytes | None:
    """Read a user's rules; None for a user who has never changed any."""
    rules: bytes | None = await connection.fetchval(
        "SELECT rules FROM push_rules WHERE user_id = $1", user_id
    )
    return rules


async def have_changed_after(connection: Connection, user_id: str, position: int) -> bool:
    """Whether the user's rules have changed after a position."""
    changed: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM push_rules WHERE user_id = $1 AND pos > $2)",
        user_id,
        position,
    )
    return changed


async def rules_of_users(connection: Connection, user_ids: Collection[str]) -> dict[UserID, bytes]:
    """Read the rules of those of the users who have ever changed any."""
    rows = await connection.fetch(
        "SELECT user_id, rules FROM push_rules WHERE user_id = ANY ($1::text[])", list(user_ids)
    )
    return {UserID(row["user_id"]): row["rules"] for row in rows}
