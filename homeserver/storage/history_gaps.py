"""Where the history of a room has gaps, and how what was missing is put there."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.event_writes import RelationWrite
from homeserver.storage.history_stretches import BEGINNINGS, LEAST, Bounds

# What one request to another server can name.
_MAX_MISSING = 50


class HistoryGap(NamedTuple):
    """Missing prev events of the events at one position, in history filled in before among them.

    The gap is right before (pos, sub), the oldest event of a stretch at that position, whose time
    is `ts`; `depth` is the greatest of the events that miss something.
    """

    pos: int
    sub: int
    ts: int
    child_nid: int
    missing: Sequence[EventID]
    depth: int


async def gaps_of(connection: Connection, room_nid: int) -> list[HistoryGap]:
    """Return the gaps of a room, the newest first."""
    rows = await connection.fetch(
        """
        WITH extremity AS (
            SELECT b.event_id, b.child_nid, c.pos, c.sub, c.depth,
                   b.event_id = ANY ($3::text[]) AS is_beginning
            FROM backward_extremities b JOIN events c ON c.event_nid = b.child_nid
            WHERE b.room_nid = $1 AND c.pos IS NOT NULL
        )
        SELECT g.pos, o.sub, o.origin_server_ts, g.child_nid, g.missing[:$2] AS missing, g.depth
        FROM (
            SELECT x.pos, l.sub, max(x.child_nid) AS child_nid, max(x.depth) AS depth,
                   array_agg(x.event_id ORDER BY x.depth DESC) AS missing
            FROM extremity x
            CROSS JOIN LATERAL (
                SELECT coalesce(max(y.sub), $4) AS sub FROM extremity y
                WHERE y.is_beginning AND y.pos = x.pos AND y.sub < x.sub
            ) l
            WHERE NOT x.is_beginning
            GROUP BY x.pos, l.sub
        ) g
        CROSS JOIN LATERAL (
            SELECT e.sub, e.origin_server_ts FROM events e
            WHERE e.room_nid = $1 AND e.pos = g.pos AND e.sub > g.sub ORDER BY e.sub LIMIT 1
        ) o
        ORDER BY g.pos DESC, o.sub DESC
        """,
        room_nid,
        _MAX_MISSING,
        BEGINNINGS,
        LEAST,
    )
    return [HistoryGap(*row) for row in rows]


async def next_place(
    connection: Connection, room_nid: int, pos: int, sub: int
) -> tuple[int, int] | None:
    """Return the place of the first event of a room's timeline behind a place."""
    row = await connection.fetchrow(
        """
        SELECT e.pos, e.sub FROM events e
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL AND (e.pos, e.sub) > ($2, $3)
        ORDER BY e.pos, e.sub LIMIT 1
        """,
        room_nid,
        pos,
        sub,
    )
    return (row["pos"], row["sub"]) if row else None


async def lock_history(tx: Transaction, room_nid: int) -> None:
    """Let nobody else put history into a room, nor write to it, until the transaction ends."""
    await tx.execute("SELECT FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)


async def place_history(
    tx: Transaction, room_nid: int, pos: int, within: Bounds, event_nids: Sequence[int]
) -> set[int]:
    """Put outliers into the timeline below `within.oldest`, the newest of them first.

    Rejected ones stay outside, and all of them where there is not the space. Returns the numbers
    of those that now have a place.
    """
    if within.oldest - len(event_nids) <= within.lowest:
        return set()
    rows = await tx.fetch(
        """
        WITH counted AS (
            -- Nothing of history is unread.
            SELECT coalesce(max(c.notify_seq), 0) AS notify_seq,
                   coalesce(max(c.highlight_seq), 0) AS highlight_seq
            FROM (
                SELECT e.notify_seq, e.highlight_seq FROM events e
                WHERE e.room_nid = $1 AND e.pos < $2 AND e.sub = 0 AND e.thread_nid IS NULL
                ORDER BY e.pos DESC LIMIT 1
            ) c
        ), wanted AS (
            SELECT e.event_nid, row_number() OVER (ORDER BY w.ord) AS ord
            FROM unnest($4::bigint[]) WITH ORDINALITY AS w(event_nid, ord)
            JOIN events e ON e.event_nid = w.event_nid
            WHERE e.room_nid = $1 AND e.pos IS NULL AND e.flags & 3 = 1
        )
        UPDATE events e
        SET pos = $2, sub = $3 - wanted.ord, flags = e.flags & ~1,
            notify_seq = counted.notify_seq, highlight_seq = counted.highlight_seq
        FROM wanted, counted
        WHERE e.event_nid = wanted.event_nid
        RETURNING e.event_nid
        """,
        room_nid,
        pos,
        within.oldest,
        list(event_nids),
    )
    return {row["event_nid"] for row in rows}


async def relate(tx: Transaction, rows: Sequence[RelationWrite]) -> None:
    """Note the relations of events that now have a place."""
    await tx.execute(
        """
        INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, key, sender, type)
        SELECT r.event_nid, r.room_nid, r.parent_id, r.rel_type, r.key, r.sender, r.type
        FROM unnest($1::relation_write[]) r
        ON CONFLICT (event_nid) DO NOTHING
        """,
        rows,
    )


async def thread_history(tx: Transaction, room_nid: int, event_nids: Sequence[int]) -> None:
    """Put messages of history into threads, as soon as both they and the thread's root are there.

    `event_nids` are what has a place since the last time.
    """
    await tx.execute(
        """
        WITH reply AS (
            UPDATE events c SET thread_nid = p.event_nid
            FROM relations r JOIN events p ON p.event_id = r.parent_id AND p.room_nid = r.room_nid
            WHERE r.room_nid = $1 AND r.rel_type = 'm.thread' AND r.event_nid = c.event_nid
              AND c.sub < 0 AND c.thread_nid IS NULL AND p.pos IS NOT NULL
              AND (c.event_nid = ANY ($2::bigint[]) OR p.event_nid = ANY ($2::bigint[]))
              AND NOT EXISTS (SELECT FROM relations o WHERE o.event_nid = p.event_nid)
            RETURNING p.event_nid AS thread_nid, c.event_nid, c.pos, c.sub
        )
        INSERT INTO threads (room_nid, thread_nid, latest_nid, latest_pos, replies, newest_pos,
                             notify_seq, highlight_seq)
        SELECT $1, y.thread_nid, (array_agg(y.event_nid ORDER BY y.pos DESC, y.sub DESC))[1],
               max(y.pos), count(*), max(y.pos), 0, 0
        FROM reply y GROUP BY y.thread_nid
        ON CONFLICT (room_nid, thread_nid) DO UPDATE
        SET replies = threads.replies + excluded.replies,
            latest_nid = CASE WHEN excluded.latest_pos > threads.latest_pos
                              THEN excluded.latest_nid ELSE threads.latest_nid END,
            latest_pos = greatest(threads.latest_pos, excluded.latest_pos)
        """,
        room_nid,
        list(event_nids),
    )


async def redact_history(
    tx: Transaction, target_nid: int, redaction_nid: int, core: bytes, rest: bytes
) -> None:
    """Replace an event by its redacted form, unless another redaction did."""
    await tx.execute(
        """
        WITH redacted AS (
            UPDATE events SET core = $3, rest = $4, redacted_by_nid = $2
            WHERE event_nid = $1 AND redacted_by_nid IS NULL RETURNING event_nid
        )
        DELETE FROM relations r USING redacted t WHERE r.event_nid = t.event_nid
        """,
        target_nid,
        redaction_nid,
        core,
        rest,
    )
