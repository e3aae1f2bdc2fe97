"""Stretches of history that stand apart: what was jumped to, without what comes after it.

A stretch has a place between what is before and after it, far enough from both for what is missing.
Where it begins, its newest event, a row of `backward_extremities` tells the history visibility in
place of an event ID, for no event of the room that is known here does.
"""

from typing import Final, NamedTuple

from homeserver.protocol.history_visibility import HistoryVisibility
from homeserver.storage.database import Connection, Transaction

# Event IDs begin with "$".
BEGINNINGS: Final = [each.value for each in HistoryVisibility]
# So many events can be filled in between two stretches at least.
MIN_DISTANCE: Final = 2**16
# Below the least sub of an event: nothing stands before it.
LEAST: Final = -(2**31)


class Bounds(NamedTuple):
    """The sub of a stretch's oldest event, one that nothing of it may reach, and the depth there.

    What may not be reached is where the next older stretch begins, if there is one.
    """

    oldest: int
    lowest: int
    depth: int


class Neighbor(NamedTuple):
    """The event on the older side of a gap."""

    pos: int
    sub: int
    ts: int
    depth: int


async def bounds_at(connection: Connection, room_nid: int, pos: int, sub: int) -> Bounds | None:
    """Return the bounds of the stretch that an event is in; None: there is no such event."""
    row = await connection.fetchrow(
        """
        WITH lowest AS (
            SELECT coalesce(max(t.sub), $5) AS sub
            FROM backward_extremities b JOIN events t ON t.event_nid = b.child_nid
            WHERE b.room_nid = $1 AND b.event_id = ANY ($4::text[]) AND t.pos = $2 AND t.sub < $3
        )
        SELECT o.sub, l.sub, o.depth
        FROM lowest l, LATERAL (
            SELECT e.sub, e.depth FROM events e
            WHERE e.room_nid = $1 AND e.pos = $2 AND e.sub > l.sub AND e.sub <= $3
            ORDER BY e.sub LIMIT 1
        ) o
        """,
        room_nid,
        pos,
        sub,
        BEGINNINGS,
        LEAST,
    )
    return Bounds(*row) if row else None


async def older_neighbor(
    connection: Connection, room_nid: int, pos: int, sub: int
) -> Neighbor | None:
    """Return the event of the timeline before a place; None: it is the first one."""
    row = await connection.fetchrow(
        """
        SELECT e.pos, e.sub, e.origin_server_ts, e.depth FROM events e
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL AND (e.pos, e.sub) < ($2, $3)
        ORDER BY e.pos DESC, e.sub DESC LIMIT 1
        """,
        room_nid,
        pos,
        sub,
    )
    return Neighbor(*row) if row else None


async def begin(
    tx: Transaction, room_nid: int, event_nid: int, visibility: HistoryVisibility
) -> None:
    """Note that a stretch begins with an event, and the visibility in the state before it."""
    await tx.execute(
        """
        INSERT INTO backward_extremities (room_nid, event_id, child_nid) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
        """,
        room_nid,
        visibility.value,
        event_nid,
    )


async def join(tx: Transaction, room_nid: int, pos: int) -> None:
    """Let stretches at a position be one where nothing is missing between them any more."""
    await tx.execute(
        """
        WITH extremity AS (
            SELECT b.child_nid, c.sub, b.event_id = ANY ($3::text[]) AS is_beginning
            FROM backward_extremities b JOIN events c ON c.event_nid = b.child_nid
            WHERE b.room_nid = $1 AND c.pos = $2
        ), beginning AS (
            SELECT x.child_nid, x.sub, lead(x.sub) OVER (ORDER BY x.sub) AS newer
            FROM extremity x WHERE x.is_beginning
        )
        DELETE FROM backward_extremities b USING beginning s
        WHERE b.room_nid = $1 AND b.child_nid = s.child_nid AND b.event_id = ANY ($3::text[])
          AND NOT EXISTS (
              SELECT FROM extremity x
              WHERE NOT x.is_beginning AND x.sub > s.sub AND (s.newer IS NULL OR x.sub <= s.newer)
          )
        """,
        room_nid,
        pos,
        BEGINNINGS,
    )
