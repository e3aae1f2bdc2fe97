"""Finding events by time, and new ones of many rooms."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection


class TimedEvent(NamedTuple):
    """An event of a timeline by its time (ms) and its place."""

    origin_server_ts: int
    pos: int
    sub: int
    event_nid: int


async def events_from(
    connection: Connection, room_nid: int, first: tuple[int, int, int], upto: int, limit: int
) -> list[TimedEvent]:
    """Read the `limit` events from a (time, pos, sub) on, by time; at positions up to `upto`."""
    rows = await connection.fetch(
        """
        SELECT e.origin_server_ts, e.pos, e.sub, e.event_nid FROM events e
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL AND e.pos <= $5 AND e.origin_server_ts >= $2
          AND (e.origin_server_ts, e.pos, e.sub) > ($2, $3, $4)
        ORDER BY e.origin_server_ts, e.pos, e.sub LIMIT $6
        """,
        room_nid,
        *first,
        upto,
        limit,
    )
    return [TimedEvent(*row) for row in rows]


async def events_upto(
    connection: Connection, room_nid: int, last: tuple[int, int, int], upto: int, limit: int
) -> list[TimedEvent]:
    """Read the same backwards: from before a (time, pos, sub) on."""
    rows = await connection.fetch(
        """
        SELECT e.origin_server_ts, e.pos, e.sub, e.event_nid FROM events e
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL AND e.pos <= $5 AND e.origin_server_ts <= $2
          AND (e.origin_server_ts, e.pos, e.sub) < ($2, $3, $4)
        ORDER BY e.origin_server_ts DESC, e.pos DESC, e.sub DESC LIMIT $6
        """,
        room_nid,
        *last,
        upto,
        limit,
    )
    return [TimedEvent(*row) for row in rows]


async def new_in_rooms(
    connection: Connection, room_nids: Sequence[int], after: int, upto: int, limit: int
) -> list[int]:
    """Return the oldest `limit` live events of rooms at positions in (after, upto], in order."""
    rows = await connection.fetch(
        """
        SELECT n.event_nid
        FROM unnest($1::bigint[]) AS w(room_nid)
        CROSS JOIN LATERAL (
            SELECT e.event_nid, e.pos FROM events e
            WHERE e.room_nid = w.room_nid AND e.pos IS NOT NULL AND e.sub = 0
              AND e.pos > $2 AND e.pos <= $3
            ORDER BY e.pos LIMIT $4
        ) n
        ORDER BY n.pos LIMIT $4
        """,
        list(room_nids),
        after,
        upto,
        limit,
    )
    return [row["event_nid"] for row in rows]
