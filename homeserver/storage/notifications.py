"""Which events have notified a user, without a row for each member of a room."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.storage.database import Connection


class ScannedRoom(NamedTuple):
    """A room of a user, and the positions strictly between which its events count."""

    room_nid: int
    after: int
    before: int


class ScannedEvent(NamedTuple):
    """An event, and whether it has notified everybody by the default rules.

    `is_notification` and `is_highlight` are what was written for the user alone, None where
    nothing was; so are `actions`, as JSON.
    """

    event_nid: int
    room_nid: int
    pos: int
    notifies_all: bool
    highlights_all: bool
    is_notification: bool | None
    is_highlight: bool | None
    actions: bytes | None
    is_read: bool


async def scan(
    connection: Connection, user_id: str, rooms: Sequence[ScannedRoom], before: int, limit: int
) -> list[ScannedEvent]:
    """Read the newest `limit` live events of rooms before a position, newest first.

    Live events have `sub` 0, written as > -1: so that nothing but each room's own index can serve.

    Without those of the user and those that are redacted. An event has notified everybody where
    it has raised the running count of its part of the timeline.
    """
    rows = await connection.fetch(
        _SCAN,
        user_id,
        [room.room_nid for room in rooms],
        [room.after for room in rooms],
        [room.before for room in rooms],
        before,
        limit,
    )
    return [ScannedEvent(*row) for row in rows]


_SCAN: Final = """
    WITH newest AS MATERIALIZED (
        SELECT w.room_nid, w.after, w.before, (
            SELECT t.pos FROM events t
            WHERE t.room_nid = w.room_nid AND t.pos > w.after
              AND t.pos < least(w.before, $5) AND t.sub > -1
              AND t.sender <> $1 AND t.redacted_by_nid IS NULL
            ORDER BY t.pos DESC, t.sub DESC LIMIT 1
        ) AS pos
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS w(room_nid, after, before)
    ), scanned AS MATERIALIZED (
        -- The newest events of all are in the rooms with the newest ones.
        SELECT e.*
        FROM (SELECT n.* FROM newest n WHERE n.pos IS NOT NULL
              ORDER BY n.pos DESC LIMIT $6) w
        CROSS JOIN LATERAL (
            SELECT t.event_nid, t.room_nid, t.pos, t.thread_nid, t.notify_seq,
                   t.highlight_seq
            FROM events t
            WHERE t.room_nid = w.room_nid AND t.pos > w.after
              AND t.pos < least(w.before, $5) AND t.sub > -1
              AND t.sender <> $1 AND t.redacted_by_nid IS NULL
            ORDER BY t.pos DESC, t.sub DESC LIMIT $6
        ) e
        ORDER BY e.pos DESC LIMIT $6
    )
    SELECT s.event_nid, s.room_nid, s.pos,
           s.notify_seq > coalesce(b.notify_seq, 0),
           s.highlight_seq > coalesce(b.highlight_seq, 0),
           n.is_notification, n.is_highlight, n.actions,
           EXISTS (
               SELECT FROM read_counters c
               LEFT JOIN events root ON root.event_nid = s.thread_nid
               WHERE c.user_id = $1 AND c.room_nid = s.room_nid AND c.read_pos >= s.pos
                 AND (c.thread_id = '' OR c.thread_id = coalesce(root.event_id, 'main'))
           )
    FROM scanned s
    LEFT JOIN LATERAL (
        (SELECT p.notify_seq, p.highlight_seq FROM events p
         WHERE s.thread_nid IS NULL AND p.thread_nid IS NULL
           AND p.room_nid = s.room_nid AND p.pos < s.pos AND p.sub > -1
         ORDER BY p.pos DESC, p.sub DESC LIMIT 1)
        UNION ALL
        (SELECT p.notify_seq, p.highlight_seq FROM events p
         WHERE p.thread_nid = s.thread_nid AND p.pos < s.pos AND p.sub > -1
         ORDER BY p.pos DESC LIMIT 1)
    ) b ON true
    LEFT JOIN user_notifications n
        ON n.user_id = $1 AND n.room_nid = s.room_nid AND n.pos = s.pos
    ORDER BY s.pos DESC
"""
