"""The guests of this server among the members of rooms."""

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection


async def joined_guests(connection: Connection, room_nid: int) -> list[UserID]:
    """List the guests who are joined to a room."""
    rows = await connection.fetch(
        """
        SELECT m.user_id FROM memberships m JOIN users u ON u.user_id = m.user_id
        WHERE m.room_nid = $1 AND m.membership = 'join' AND u.is_guest
        """,
        room_nid,
    )
    return [UserID(row["user_id"]) for row in rows]
