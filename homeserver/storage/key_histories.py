"""How single state keys changed in many rooms."""

from collections.abc import Collection
from typing import TypeAlias

from homeserver.storage.database import Connection

# Position, event number and core of a change; without an event the key was removed.
KeyChange: TypeAlias = tuple[int, int | None, bytes | None]


async def of_rooms(
    connection: Connection, room_nids: Collection[int], event_type: str, state_key: str
) -> dict[int, list[KeyChange]]:
    """Return every change of one state key in each of some rooms, in order.

    Rooms without any are absent. For one room: `state.key_history`.
    """
    rows = await connection.fetch(
        """
        SELECT c.room_nid, c.pos, c.event_nid, e.core
        FROM state_keys k
        CROSS JOIN unnest($1::bigint[]) AS w (room_nid)
        JOIN state_changes c ON c.room_nid = w.room_nid AND c.key_nid = k.key_nid
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE k.type = $2 AND k.state_key = $3
        ORDER BY c.room_nid, c.pos
        """,
        list(room_nids),
        event_type,
        state_key,
    )
    found: dict[int, list[KeyChange]] = {}
    for row in rows:
        found.setdefault(row["room_nid"], []).append((row["pos"], row["event_nid"], row["core"]))
    return found
