"""How single state keys changed in many rooms."""

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection
from homeserver.storage.history_stretches import BEGINNINGS

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


class VisibilityChange(NamedTuple):
    """A history visibility of a room: a change of its state, or an event that was filled in.

    Of changes of the state, `sub` is 0; `is_live` tells those that are an event of that position
    from those that came here with the state of others. Without `core` the key was removed.
    `is_create`: the room begins there. `beginning`: no change, but the visibility before the newest
    event of a stretch that stands apart.
    """

    pos: int
    sub: int
    core: bytes | None
    is_live: bool
    is_create: bool
    beginning: str | None


async def visibilities_of_rooms(
    connection: Connection, room_nids: Collection[int]
) -> dict[int, list[VisibilityChange]]:
    """Return every history visibility of each of some rooms, in order.

    Rooms without any are absent.
    """
    rows = await connection.fetch(
        """
        SELECT c.room_nid, c.pos, 0 AS sub, e.core, coalesce(e.pos = c.pos AND e.sub = 0, false),
               false, NULL
        FROM state_keys k
        CROSS JOIN unnest($1::bigint[]) AS w (room_nid)
        JOIN state_changes c ON c.room_nid = w.room_nid AND c.key_nid = k.key_nid
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE k.type = 'm.room.history_visibility' AND k.state_key = ''
        UNION ALL
        SELECT e.room_nid, e.pos, e.sub, e.core, false, e.type = 'm.room.create', NULL
        FROM events e
        WHERE e.room_nid = ANY ($1::bigint[]) AND e.pos IS NOT NULL AND e.state_key = ''
          AND e.sub < 0 AND e.type IN ('m.room.history_visibility', 'm.room.create')
        UNION ALL
        SELECT b.room_nid, e.pos, e.sub, NULL, false, false, b.event_id
        FROM backward_extremities b JOIN events e ON e.event_nid = b.child_nid
        WHERE b.room_nid = ANY ($1::bigint[]) AND b.event_id = ANY ($2::text[])
        ORDER BY 1, 2, 3
        """,
        list(room_nids),
        BEGINNINGS,
    )
    found: dict[int, list[VisibilityChange]] = {}
    for room_nid, *change in rows:
        found.setdefault(room_nid, []).append(VisibilityChange(*change))
    return found


class LastVisibility(NamedTuple):
    """The event that sets the history visibility."""

    event_nid: int
    depth: int


async def visibility_upto(connection: Connection, room_nid: int, pos: int) -> LastVisibility | None:
    """Return the history visibility in a room's state after a position; None: it has none."""
    row = await connection.fetchrow(
        """
        SELECT c.event_nid, e.depth
        FROM state_keys k
        JOIN state_changes c ON c.room_nid = $1 AND c.key_nid = k.key_nid AND c.pos <= $2
        JOIN events e ON e.event_nid = c.event_nid
        WHERE k.type = 'm.room.history_visibility' AND k.state_key = ''
        ORDER BY c.pos DESC LIMIT 1
        """,
        room_nid,
        pos,
    )
    return LastVisibility(*row) if row else None


async def stays_of_server(
    connection: Connection, room_nid: int, server_name: str
) -> list[tuple[int, int | None]]:
    """Return from which position on, and up to which, each user of a server was in a room.

    Without an end, the user still is.
    """
    rows = await connection.fetch(
        f"""
        SELECT h.pos, h.until FROM (
            SELECT c.pos, {MEMBERSHIP} AS membership, lead(c.pos) OVER (
                       PARTITION BY c.key_nid ORDER BY c.pos) AS until
            FROM state_changes c
            JOIN state_keys k ON k.key_nid = c.key_nid
            LEFT JOIN events e ON e.event_nid = c.event_nid
            WHERE c.room_nid = $1 AND k.type = 'm.room.member'
              AND right(k.state_key, length($2) + 1) = ':' || $2
        ) h
        WHERE h.membership = 'join'
        """,
        room_nid,
        server_name,
    )
    return [(row["pos"], row["until"]) for row in rows]
