"""Which account belongs to an identity at another provider."""

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


async def user_of(connection: Connection, provider_id: str, subject: str) -> UserID | None:
    """Return whose an identity is."""
    user_id = await connection.fetchval(
        "SELECT user_id FROM external_identities WHERE provider_id = $1 AND subject = $2",
        provider_id,
        subject,
    )
    return None if user_id is None else UserID(user_id)


async def providers_of(connection: Connection, user_id: str) -> list[str]:
    """List the providers at which a user has identities."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT provider_id FROM external_identities
        WHERE user_id = $1 ORDER BY provider_id
        """,
        user_id,
    )
    return [row["provider_id"] for row in rows]


async def is_linked(connection: Connection, provider_id: str, user_id: str) -> bool:
    """Whether a user has an identity at a provider."""
    row = await connection.fetchrow(
        "SELECT FROM external_identities WHERE provider_id = $1 AND user_id = $2 LIMIT 1",
        provider_id,
        user_id,
    )
    return row is not None


async def insert(
    tx: Transaction, provider_id: str, subject: str, user_id: str, now_ms: int
) -> bool:
    """Give an identity to a user; False: it is somebody's already."""
    row = await tx.fetchrow(
        """
        INSERT INTO external_identities (provider_id, subject, user_id, linked_ts)
        VALUES ($1, $2, $3, $4) ON CONFLICT (provider_id, subject) DO NOTHING RETURNING user_id
        """,
        provider_id,
        subject,
        user_id,
        now_ms,
    )
    return row is not None
