"""Who takes no invites, as the user's account data says."""

from homeserver.storage.database import Connection


async def configs_of(connection: Connection, user_id: str) -> list[bytes]:
    """Read the contents that say from whom a user takes invites, as JSON."""
    rows = await connection.fetch(
        """
        SELECT content FROM account_data
        WHERE user_id = $1 AND room_nid = 0 AND NOT is_deleted
          AND type IN ('m.invite_permission_config', 'org.matrix.msc4380.invite_permission_config')
        """,
        user_id,
    )
    return [row["content"] for row in rows]
