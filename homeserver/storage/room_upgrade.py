"""What an upgrade moves or looks up outside of the two rooms."""

from collections.abc import Collection
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomAlias, RoomID
from homeserver.storage.core_json import CORE_JSON
from homeserver.storage.database import Connection, Transaction


class Replacement(NamedTuple):
    """A room that has taken the place of another."""

    room_id: RoomID
    room_version: str


async def lock_room(tx: Transaction, room_id: str) -> None:
    """Let nobody else upgrade the room until the transaction ends."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('room_upgrade ' || $1, 0))", room_id
    )


async def tombstone_nid(connection: Connection, room_id: str) -> int:
    """Return the tombstone of a room; 0: it has none, or is not known."""
    nid = await connection.fetchval(
        """
        SELECT s.event_nid FROM rooms r
        JOIN state_keys k ON k.type = 'm.room.tombstone' AND k.state_key = ''
        JOIN room_state s ON s.room_nid = r.room_nid AND s.key_nid = k.key_nid
        WHERE r.room_id = $1
        """,
        room_id,
    )
    return nid or 0


async def replacement(connection: Connection, room_id: str, but_not: int) -> Replacement | None:
    """Return the room of this server that a room's tombstone names, unless it is `but_not`."""
    row = await connection.fetchrow(
        f"""
        SELECT n.room_id, n.room_version FROM rooms r
        JOIN state_keys k ON k.type = 'm.room.tombstone' AND k.state_key = ''
        JOIN room_state s ON s.room_nid = r.room_nid AND s.key_nid = k.key_nid
        JOIN events e ON e.event_nid = s.event_nid
        JOIN rooms n ON n.room_id = {CORE_JSON} -> 'content' ->> 'replacement_room'
        WHERE r.room_id = $1 AND s.event_nid <> $2
        """,
        room_id,
        but_not,
    )
    return None if row is None else Replacement(RoomID(row["room_id"]), row["room_version"])


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
