"""Which rooms two users share."""

from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID
from homeserver.storage.database import Connection


class SharedRoom(NamedTuple):
    """A room in which both are joined."""

    room_nid: int
    room_id: RoomID


async def shared_rooms(
    connection: Connection, user_id: str, other: str, *, after: int, limit: int
) -> tuple[list[SharedRoom], int]:
    """Return shared rooms with higher numbers than `after`, in order, and the count of all."""
    rows = await connection.fetch(
        """
        WITH shared AS (
            SELECT a.room_nid
            FROM memberships a JOIN memberships b ON b.room_nid = a.room_nid
            WHERE a.user_id = $1 AND a.membership = 'join'
              AND b.user_id = $2 AND b.membership = 'join'
        )
        SELECT r.room_nid, r.room_id, (SELECT count(*) FROM shared) AS total
        FROM (SELECT s.room_nid FROM shared s WHERE s.room_nid > $3
              ORDER BY s.room_nid LIMIT $4) page
        JOIN rooms r ON r.room_nid = page.room_nid
        ORDER BY r.room_nid
        """,
        user_id,
        other,
        after,
        limit,
    )
    total = rows[0]["total"] if rows else 0
    return [SharedRoom(row["room_nid"], RoomID(row["room_id"])) for row in rows], total
