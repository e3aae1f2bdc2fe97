"""What an upgrade moves or looks up outside of the two rooms."""

from collections.abc import Collection

from homeserver.protocol.identifiers import RoomAlias, RoomID
from homeserver.storage.database import Connection, Transaction


async def move_aliases(tx: Transaction, old: RoomID, new: RoomID) -> list[RoomAlias]:
    """Point all aliases of this server for one room to another, and return them."""
    rows = await tx.fetch(
        "UPDATE room_aliases SET room_id = $2 WHERE room_id = $1 RETURNING alias", old, new
    )
    return [RoomAlias(row["alias"]) for row in rows]


async def move_listing(tx: Transaction, old: RoomID, new: RoomID, now_ms: int) -> None:
    """List a room in the directory in the place of another, if that one is listed."""
    await tx.execute(
        """
        WITH hidden AS (DELETE FROM published_rooms WHERE room_id = $1 RETURNING published_by)
        INSERT INTO published_rooms (room_id, published_by, published_ts)
        SELECT $2, hidden.published_by, $3 FROM hidden
        ON CONFLICT (room_id) DO NOTHING
        """,
        old,
        new,
        now_ms,
    )


async def rooms_with_state(
    connection: Connection, room_nids: Collection[int], event_type: str, state_key: str
) -> list[RoomID]:
    """Return those of some rooms whose current state has an entry for a key."""
    rows = await connection.fetch(
        """
        SELECT r.room_id
        FROM state_keys k
        JOIN room_state s ON s.key_nid = k.key_nid AND s.room_nid = ANY ($1::bigint[])
        JOIN rooms r ON r.room_nid = s.room_nid
        WHERE k.type = $2 AND k.state_key = $3
        """,
        list(room_nids),
        event_type,
        state_key,
    )
    return [RoomID(row["room_id"]) for row in rows]
