"""Unread counts: what users have read, and where an event counts differently for one user."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection


async def notifications_after(
    connection: Connection, room_nids: Sequence[int], after: int, upto: int
) -> list[tuple[int, str, int, bool]]:
    """Return (position, user, notify delta, is highlight) of exceptions in (after, upto]."""
    rows = await connection.fetch(
        """
        SELECT pos, user_id, notify_delta, is_highlight FROM user_notifications
        WHERE room_nid = ANY ($1::bigint[]) AND pos > $2 AND pos <= $3
        """,
        list(room_nids),
        after,
        upto,
    )
    return [(row["pos"], row["user_id"], row["notify_delta"], row["is_highlight"]) for row in rows]


class ReadBaseline(NamedTuple):
    """What a user has read of a room's main timeline, with what counts differently since.

    Unread notifications are the room's counter less `notify_seq` plus `notify_extra`.
    """

    read_pos: int
    notify_seq: int
    highlight_seq: int
    notify_extra: int
    highlight_extra: int


async def baselines_of(connection: Connection, user_id: str) -> dict[int, ReadBaseline]:
    """Return the baselines of all rooms that the user has read something of."""
    rows = await connection.fetch(
        """
        SELECT c.room_nid, c.read_pos, c.notify_seq, c.highlight_seq,
               coalesce(n.notify, 0) - coalesce(d.notify, 0) AS notify_extra,
               coalesce(n.highlight, 0) - coalesce(d.highlight, 0) AS highlight_extra
        FROM (
            SELECT DISTINCT ON (r.room_nid) r.room_nid, r.read_pos, r.notify_seq, r.highlight_seq
            FROM read_counters r
            WHERE r.user_id = $1 AND r.thread_id IN ('', 'main')
            ORDER BY r.room_nid, r.read_pos DESC
        ) c
        LEFT JOIN LATERAL (
            SELECT sum(u.notify_delta)::bigint AS notify,
                   count(*) FILTER (WHERE u.is_highlight) AS highlight
            FROM user_notifications u
            WHERE u.user_id = $1 AND u.room_nid = c.room_nid AND u.pos > c.read_pos
              AND u.thread_nid IS NULL
        ) n ON true
        LEFT JOIN LATERAL (
            SELECT sum(k.notify)::bigint AS notify, sum(k.highlight)::bigint AS highlight
            FROM count_corrections k
            WHERE k.room_nid = c.room_nid AND k.event_pos > c.read_pos AND k.thread_nid IS NULL
        ) d ON true
        """,
        user_id,
    )
    return {row["room_nid"]: ReadBaseline(*list(row)[1:]) for row in rows}


async def room_counters(
    connection: Connection, room_nids: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Return the running (notify, highlight) counters of rooms' main timelines."""
    rows = await connection.fetch(
        """
        SELECT room_nid, notify_seq, highlight_seq FROM rooms WHERE room_nid = ANY ($1::bigint[])
        """,
        list(room_nids),
    )
    return {row["room_nid"]: (row["notify_seq"], row["highlight_seq"]) for row in rows}
