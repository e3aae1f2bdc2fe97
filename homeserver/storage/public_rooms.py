"""The rooms that the directory of this server lists."""

from homeserver.protocol.identifiers import RoomID
from homeserver.storage.database import Connection


async def published_rooms(connection: Connection) -> list[RoomID]:
    """List the IDs of all published rooms, in no order."""
    rows = await connection.fetch("SELECT room_id FROM published_rooms")
    return [RoomID(row["room_id"]) for row in rows]
