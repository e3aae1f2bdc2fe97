"""Unread counts: what users have read, and where an event counts differently for one user.

A room's timeline has parts: the main timeline (thread number None) and its threads. Each has
running counts of what notifies, and highlights, by the default push rules.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.database import Connection


class NotificationRow(NamedTuple):
    """For one user the event at a position counts differently than the running counts say."""

    pos: int
    user_id: str
    notify_delta: int
    highlight_delta: int
    is_notification: bool
    is_highlight: bool


async def notifications_after(
    connection: Connection, room_nids: Sequence[int], after: int, upto: int
) -> list[NotificationRow]:
    """Return what counts differently for single users at positions in (after, upto]."""
    rows = await connection.fetch(
        """
        SELECT pos, user_id, notify_delta, highlight_delta, is_notification, is_highlight
        FROM user_notifications
        WHERE room_nid = ANY ($1::bigint[]) AND pos > $2 AND pos <= $3
        """,
        list(room_nids),
        after,
        upto,
    )
    return [NotificationRow(*row) for row in rows]


class ReadPart(NamedTuple):
    """How far a user has read a part of a room, as its counts there.

    Unread notifications are its running count less `notify_seq` plus `notify_extra`: that is what
    counts differently for the user, up to position `extra_pos`. Where the user has muted the room
    they are `notify_alone`.
    """

    read_pos: int
    notify_seq: int
    highlight_seq: int
    notify_extra: int = 0
    highlight_extra: int = 0
    notify_alone: int = 0
    highlight_alone: int = 0
    extra_pos: int = 0


class PartRow(NamedTuple):
    """What a user has read of one part of a room."""

    room_nid: int
    thread_nid: int | None
    part: ReadPart


async def parts_read(
    connection: Connection, user_id: str, room_nids: Sequence[int] | None
) -> list[PartRow]:
    """Read how far a user has read: main timelines, and those threads with something unread.

    Of the given rooms, or of all; rooms of which the user has read nothing are left out.
    """
    rows = await connection.fetch(_PARTS_READ, user_id, room_nids and list(room_nids))
    return [PartRow(row[0], row[1], ReadPart(*list(row)[2:])) for row in rows]


# Redacted events count no more: their rows of user_notifications are gone, and what they have
# added to the running counts stands in count_corrections.
_PARTS_READ: Final = """
    WITH reads AS MATERIALIZED (
        SELECT r.room_nid, r.thread_id, r.read_pos, r.notify_seq, r.highlight_seq
        FROM read_counters r
        WHERE r.user_id = $1 AND ($2::bigint[] IS NULL OR r.room_nid = ANY ($2))
    ), whole AS MATERIALIZED (
        -- The further of what was read of the whole room and of its main timeline.
        SELECT DISTINCT ON (r.room_nid) r.room_nid, r.read_pos, r.notify_seq, r.highlight_seq,
               r.thread_id IN ('', 'main') AS is_main,
               coalesce(max(r.read_pos) FILTER (WHERE r.thread_id = '')
                        OVER (PARTITION BY r.room_nid), 0) AS whole_pos
        FROM reads r
        ORDER BY r.room_nid, r.thread_id IN ('', 'main') DESC, r.read_pos DESC
    ), parts AS (
        SELECT w.room_nid, NULL::bigint AS thread_nid,
               CASE WHEN w.is_main THEN w.read_pos ELSE 0 END AS read_pos,
               CASE WHEN w.is_main THEN w.notify_seq ELSE 0 END AS notify_seq,
               CASE WHEN w.is_main THEN w.highlight_seq ELSE 0 END AS highlight_seq,
               NULL::bigint AS notify_now, NULL::bigint AS highlight_now
        FROM whole w
        UNION ALL
        SELECT w.room_nid, h.thread_nid, greatest(w.whole_pos, o.read_pos),
               coalesce(o.notify_seq, b.notify_seq, 0),
               coalesce(o.highlight_seq, b.highlight_seq, 0), h.notify_seq, h.highlight_seq
        FROM whole w
        JOIN threads h ON h.room_nid = w.room_nid AND h.newest_pos > w.whole_pos
        JOIN events root ON root.event_nid = h.thread_nid
        LEFT JOIN read_counters o ON o.user_id = $1 AND o.room_nid = w.room_nid
                                 AND o.thread_id = root.event_id AND o.read_pos >= w.whole_pos
        LEFT JOIN LATERAL (
            SELECT e.notify_seq, e.highlight_seq FROM events e
            WHERE o.read_pos IS NULL AND e.thread_nid = h.thread_nid AND e.pos <= w.whole_pos
              AND e.sub = 0
            ORDER BY e.pos DESC LIMIT 1
        ) b ON true
    ), counted AS (
        SELECT p.*, coalesce(n.notify, 0) - coalesce(d.notify, 0) AS notify_extra,
               coalesce(n.highlight, 0) - coalesce(d.highlight, 0) AS highlight_extra,
               coalesce(n.notify_alone, 0) AS notify_alone,
               coalesce(n.highlight_alone, 0) AS highlight_alone,
               greatest(n.pos, d.pos, 0) AS extra_pos
        FROM parts p
        LEFT JOIN LATERAL (
            SELECT sum(u.notify_delta)::bigint AS notify,
                   sum(u.highlight_delta)::bigint AS highlight,
                   count(*) FILTER (WHERE u.is_notification) AS notify_alone,
                   count(*) FILTER (WHERE u.is_highlight) AS highlight_alone, max(u.pos) AS pos
            FROM user_notifications u
            WHERE u.user_id = $1 AND u.room_nid = p.room_nid AND u.pos > p.read_pos
              AND u.thread_nid IS NOT DISTINCT FROM p.thread_nid
        ) n ON true
        LEFT JOIN LATERAL (
            SELECT sum(k.notify)::bigint AS notify, sum(k.highlight)::bigint AS highlight,
                   max(k.event_pos) AS pos
            FROM count_corrections k
            WHERE k.room_nid = p.room_nid AND k.event_pos > p.read_pos
              AND k.thread_nid IS NOT DISTINCT FROM p.thread_nid
        ) d ON true
    )
    SELECT c.room_nid, c.thread_nid, c.read_pos, c.notify_seq, c.highlight_seq,
           c.notify_extra, c.highlight_extra, c.notify_alone, c.highlight_alone, c.extra_pos
    FROM counted c
    WHERE c.thread_nid IS NULL OR c.notify_now - c.notify_seq + c.notify_extra <> 0
       OR c.highlight_now - c.highlight_seq + c.highlight_extra <> 0
       OR c.notify_alone > 0 OR c.highlight_alone > 0
"""


class MainCounts(NamedTuple):
    """The running counts of a room's main timeline."""

    room_nid: int
    room_id: RoomID
    notify_seq: int
    highlight_seq: int


async def room_counts(connection: Connection, room_nids: Sequence[int]) -> list[MainCounts]:
    """Return the running counts of the main timelines of rooms."""
    rows = await connection.fetch(
        """
        SELECT room_nid, room_id, notify_seq, highlight_seq FROM rooms
        WHERE room_nid = ANY ($1::bigint[])
        """,
        list(room_nids),
    )
    return [MainCounts(*row) for row in rows]


class ThreadCounts(NamedTuple):
    """The running counts of a thread, and the position of its newest event."""

    room_nid: int
    thread_nid: int
    newest_pos: int
    notify_seq: int
    highlight_seq: int


async def thread_counts(connection: Connection, room_nids: Sequence[int]) -> list[ThreadCounts]:
    """Return the counts of all threads of rooms, those first that were written to long ago."""
    rows = await connection.fetch(
        """
        SELECT room_nid, thread_nid, newest_pos, notify_seq, highlight_seq FROM threads
        WHERE room_nid = ANY ($1::bigint[]) ORDER BY newest_pos
        """,
        list(room_nids),
    )
    return [ThreadCounts(*row) for row in rows]


async def thread_ids(connection: Connection, thread_nids: Sequence[int]) -> dict[int, EventID]:
    """Return the IDs of the roots of threads."""
    rows = await connection.fetch(
        "SELECT event_nid, event_id FROM events WHERE event_nid = ANY ($1::bigint[])",
        list(thread_nids),
    )
    return {row["event_nid"]: EventID(row["event_id"]) for row in rows}
