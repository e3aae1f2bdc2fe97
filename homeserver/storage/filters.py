"""The filters that users have uploaded."""

from homeserver.storage.database import Connection


async def add_filter(
    connection: Connection, user_id: str, filter_id: str, definition: bytes
) -> None:
    """Keep a filter; one that is kept already stays as it is."""
    await connection.execute(
        """
        INSERT INTO filters (user_id, filter_id, definition) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, filter_id) DO NOTHING
        """,
        user_id,
        filter_id,
        definition,
    )


async def filter_of(connection: Connection, user_id: str, filter_id: str) -> bytes | None:
    """Read the definition of a user's filter, as JSON."""
    definition: bytes | None = await connection.fetchval(
        "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2", user_id, filter_id
    )
    return definition
