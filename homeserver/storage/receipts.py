"""How far users have read, as they tell it: receipts.

Spec: client-server-api/#receipts
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.storage.database import Connection

PUBLIC: Final = "m.read"
PRIVATE: Final = "m.read.private"
# `thread_id` of a receipt for the whole room, which on the wire has none.
UNTHREADED: Final = ""
MAIN_TIMELINE: Final = "main"


class ReceiptWrite(NamedTuple):
    """The fields of the composite type `receipt_write` of migrations/0008, in order."""

    room_nid: int
    receipt_type: str
    user_id: str
    thread_id: str
    event_id: str
    event_pos: int | None
    event_sub: int
    thread_nid: int | None
    ts: int
    counts: bool
    notify_seq: int | None
    highlight_seq: int | None


class Written(NamedTuple):
    """A receipt that was written: its place in the batch, and the counts of what it reads."""

    place: int
    pos: int
    notify_seq: int
    highlight_seq: int


class AppendedReceipts(NamedTuple):
    """The positions (base_pos, upto] of a batch, and what of it was written, in their order."""

    base_pos: int
    upto: int
    written: Sequence[Written]


class ReceiptRow(NamedTuple):
    """A receipt as it stands; `ts` is in ms."""

    pos: int
    room_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int


_COLUMNS: Final = "r.pos, r.room_nid, r.user_id, r.receipt_type, r.thread_id, r.event_id, r.ts"


async def append_receipts(
    connection: Connection, writes: Sequence[ReceiptWrite]
) -> AppendedReceipts:
    """Write those receipts of a batch that go forward, in one statement."""
    row = await connection.fetchrow(
        """
        SELECT base_pos, upto, ords, positions, notify_seqs, highlight_seqs
        FROM append_receipts($1::receipt_write[])
        """,
        list(writes),
    )
    assert row is not None
    columns = (row["ords"], row["positions"], row["notify_seqs"] or (), row["highlight_seqs"] or ())
    written = [
        Written(ord_ - 1, pos, notify, highlight)
        for ord_, pos, notify, highlight in zip(*columns, strict=True)
    ]
    return AppendedReceipts(row["base_pos"], row["upto"], written)


async def receipts_after(connection: Connection, after: int, upto: int) -> list[ReceiptRow]:
    """Read the receipts at positions in (after, upto], in order."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM receipts r WHERE r.pos > $1 AND r.pos <= $2 ORDER BY r.pos",
        after,
        upto,
    )
    return [ReceiptRow(*row) for row in rows]


async def new_receipts(
    connection: Connection, user_id: str, room_nids: Sequence[int], after: int, upto: int
) -> list[ReceiptRow]:
    """Read the receipts of rooms in (after, upto] that a user may know of, in order."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM receipts r
        WHERE r.room_nid = ANY ($1::bigint[]) AND r.pos > $2 AND r.pos <= $3
          AND (r.receipt_type = 'm.read' OR r.user_id = $4)
        ORDER BY r.pos
        """,
        list(room_nids),
        after,
        upto,
        user_id,
    )
    return [ReceiptRow(*row) for row in rows]


async def newest_receipts(
    connection: Connection, user_id: str, room_nids: Sequence[int], upto: int, limit: int
) -> list[ReceiptRow]:
    """Read all own receipts of a user in rooms, and each room's newest `limit` of others."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}
        FROM unnest($1::bigint[]) AS w(room_nid)
        CROSS JOIN LATERAL (
            SELECT o.* FROM receipts o
            WHERE o.room_nid = w.room_nid AND o.user_id = $2 AND o.pos <= $3
            UNION ALL
            (SELECT p.* FROM receipts p
             WHERE p.room_nid = w.room_nid AND p.receipt_type = 'm.read' AND p.user_id <> $2
               AND p.pos <= $3
             ORDER BY p.pos DESC LIMIT $4)
        ) r
        ORDER BY r.pos
        """,
        list(room_nids),
        user_id,
        upto,
        limit,
    )
    return [ReceiptRow(*row) for row in rows]


async def thread_with(
    connection: Connection, room_nid: int, thread_id: str, event_id: str
) -> int | None:
    """Return the number of a thread of the room if an event has to do with it, else None.

    The event is in the thread, or its root, or related to the root over at most three hops.
    """
    found: int | None = await connection.fetchval(
        """
        WITH RECURSIVE ancestors (event_id, hops) AS (
            SELECT $3, 0
            UNION ALL
            SELECT r.parent_id, a.hops + 1
            FROM ancestors a
            JOIN events e ON e.event_id = a.event_id
            JOIN relations r ON r.event_nid = e.event_nid
            WHERE a.hops < 3
        )
        SELECT h.thread_nid
        FROM events root JOIN threads h ON h.thread_nid = root.event_nid
        WHERE h.room_nid = $1 AND root.event_id = $2
          AND (EXISTS (SELECT FROM ancestors a WHERE a.event_id = $2)
               OR EXISTS (SELECT FROM events e
                          WHERE e.event_id = $3 AND e.thread_nid = root.event_nid))
        """,
        room_nid,
        thread_id,
        event_id,
    )
    return found


async def is_thread(connection: Connection, room_nid: int, thread_id: str) -> bool:
    """Say whether an event is the root of a thread of the room."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM events root JOIN threads h ON h.thread_nid = root.event_nid
            WHERE h.room_nid = $1 AND root.event_id = $2
        )
        """,
        room_nid,
        thread_id,
    )
    return found
