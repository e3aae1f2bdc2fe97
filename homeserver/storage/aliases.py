"""Room aliases of this server, and which rooms the directory lists."""

from homeserver.protocol.identifiers import RoomAlias, RoomID
from homeserver.storage.database import Connection, Transaction


async def add_alias(
    tx: Transaction, alias: RoomAlias, room_id: RoomID, creator: str, now_ms: int
) -> bool:
    """Point an alias to a room; False: it is taken."""
    row = await tx.fetchrow(
        """
        INSERT INTO room_aliases (alias, room_id, creator, created_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT (alias) DO NOTHING RETURNING alias
        """,
        alias,
        room_id,
        creator,
        now_ms,
    )
    return row is not None


async def remove_alias(tx: Transaction, alias: RoomAlias) -> bool:
    """Delete an alias; False: there was none."""
    row = await tx.fetchrow("DELETE FROM room_aliases WHERE alias = $1 RETURNING alias", alias)
    return row is not None


async def room_of_alias(connection: Connection, alias: RoomAlias) -> tuple[RoomID, str] | None:
    """Return the room that an alias points to, and who made the alias."""
    row = await connection.fetchrow(
        "SELECT room_id, creator FROM room_aliases WHERE alias = $1", alias
    )
    return (RoomID(row["room_id"]), row["creator"]) if row else None


async def aliases_of_room(connection: Connection, room_id: RoomID) -> list[RoomAlias]:
    """List the aliases of a room, oldest first."""
    rows = await connection.fetch(
        "SELECT alias FROM room_aliases WHERE room_id = $1 ORDER BY created_ts, alias", room_id
    )
    return [RoomAlias(row["alias"]) for row in rows]


async def publish(tx: Transaction, room_id: RoomID, user_id: str, now_ms: int) -> None:
    """List a room in the directory."""
    await tx.execute(
        """
        INSERT INTO published_rooms (room_id, published_by, published_ts) VALUES ($1, $2, $3)
        ON CONFLICT (room_id) DO NOTHING
        """,
        room_id,
        user_id,
        now_ms,
    )


async def unpublish(tx: Transaction, room_id: RoomID) -> None:
    """Take a room out of the directory."""
    await tx.execute("DELETE FROM published_rooms WHERE room_id = $1", room_id)


async def is_published(connection: Connection, room_id: RoomID) -> bool:
    """Whether the directory lists a room."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM published_rooms WHERE room_id = $1)", room_id
    )
    return found
