"""Reading events: single ones, stretches of a timeline, and what a client may be told of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from homeserver.protocol.identifiers import EventID
from homeserver.storage.database import Connection


class Place(NamedTuple):
    """A place in a room's timeline; live events have sub 0, backfilled ones count down from -1."""

    pos: int
    sub: int


class EventRecord(NamedTuple):
    """An event as stored, with what `unsigned` may need."""

    event_nid: int
    event_id: EventID
    room_nid: int
    pos: int | None
    sub: int
    depth: int
    type: str
    sender: str
    state_key: str | None
    origin_server_ts: int
    flags: int
    state_nid: int | None
    replaces_nid: int | None
    thread_nid: int | None
    device_id: str | None
    txn_id: str | None
    notify_seq: int
    highlight_seq: int
    core: bytes
    # The state event that this one replaced.
    replaced_core: bytes | None
    replaced_id: str | None
    # The redaction that was applied to it.
    redaction_id: str | None
    redaction_core: bytes | None


class PduRecord(NamedTuple):
    """An event as stored, whole: what its PDU is joined from."""

    event_nid: int
    event_id: EventID
    room_id: str
    room_version: str
    flags: int
    state_nid: int | None
    pos: int | None
    core: bytes
    rest: bytes


# The columns of an EventRecord, for statements whose events are called `e`.
RECORD_COLUMNS = """
    e.event_nid, e.event_id, e.room_nid, e.pos, e.sub, e.depth, e.type, e.sender, e.state_key,
    e.origin_server_ts, e.flags, e.state_nid, e.replaces_nid, e.thread_nid, e.device_id, e.txn_id,
    e.notify_seq, e.highlight_seq, e.core, p.core AS replaced_core, p.event_id AS replaced_id,
    r.event_id AS redaction_id, r.core AS redaction_core
"""
RECORD_JOINS = """
    LEFT JOIN events p ON p.event_nid = e.replaces_nid
    LEFT JOIN events r ON r.event_nid = e.redacted_by_nid
"""


# The same without joins: (replaces_nid, redacted_by_nid) come after the columns of a record whose
# last four are missing. For thousands of events, of which few replaced or lost anything, see
# `with_others`: joining all of them with all of their room twice costs four times as much.
ALONE_COLUMNS = """
    e.event_nid, e.event_id, e.room_nid, e.pos, e.sub, e.depth, e.type, e.sender, e.state_key,
    e.origin_server_ts, e.flags, e.state_nid, e.replaces_nid, e.thread_nid, e.device_id, e.txn_id,
    e.notify_seq, e.highlight_seq, e.core, NULL::bytea, NULL::text, NULL::text, NULL::bytea,
    e.redacted_by_nid
"""
_ALONE_FROM = 200  # Fewer events are joined in less time than a second statement takes.


def _records(rows: Iterable[object]) -> list[EventRecord]:
    return [EventRecord(*row) for row in rows]  # type: ignore[misc]  # a Record is a tuple


async def timeline_backwards(
    connection: Connection, room_nid: int, before: Place, after: Place, limit: int
) -> list[EventRecord]:
    """Read the newest `limit` events strictly between `after` and `before`, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {RECORD_COLUMNS} FROM events e {RECORD_JOINS}
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL
          AND (e.pos, e.sub) < ($2, $3) AND (e.pos, e.sub) > ($4, $5)
        ORDER BY e.pos DESC, e.sub DESC LIMIT $6
        """,
        room_nid,
        *before,
        *after,
        limit,
    )
    return _records(rows)


async def timeline_forwards(
    connection: Connection, room_nid: int, after: Place, before: Place, limit: int
) -> list[EventRecord]:
    """Read the oldest `limit` events strictly between `after` and `before`, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {RECORD_COLUMNS} FROM events e {RECORD_JOINS}
        WHERE e.room_nid = $1 AND e.pos IS NOT NULL
          AND (e.pos, e.sub) > ($2, $3) AND (e.pos, e.sub) < ($4, $5)
        ORDER BY e.pos, e.sub LIMIT $6
        """,
        room_nid,
        *after,
        *before,
        limit,
    )
    return _records(rows)


async def newest_of_rooms(
    connection: Connection, room_nids: Sequence[int], after: int, upto: int, limit: int
) -> list[EventRecord]:
    """Read the newest `limit` live events of each room in (after, upto], newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {RECORD_COLUMNS}
        FROM unnest($1::bigint[]) AS w(room_nid)
        CROSS JOIN LATERAL (
            SELECT t.* FROM events t
            WHERE t.room_nid = w.room_nid AND t.pos IS NOT NULL
              AND t.pos > $2 AND (t.pos, t.sub) <= ($3, 0)
            ORDER BY t.pos DESC, t.sub DESC LIMIT $4
        ) e {RECORD_JOINS}
        """,
        list(room_nids),
        after,
        upto,
        limit,
    )
    return _records(rows)


async def events_after(connection: Connection, after: int, upto: int) -> list[EventRecord]:
    """Read the live events of all rooms at positions in (after, upto], in order."""
    rows = await connection.fetch(
        f"""
        SELECT {RECORD_COLUMNS} FROM events e {RECORD_JOINS}
        WHERE e.pos > $1 AND e.pos <= $2 AND e.sub = 0 ORDER BY e.pos
        """,
        after,
        upto,
    )
    return _records(rows)


async def events_by_nid(
    connection: Connection, event_nids: Iterable[int]
) -> dict[int, EventRecord]:
    """Read events by their numbers."""
    nids = list(event_nids)
    if len(nids) >= _ALONE_FROM:
        rows = await connection.fetch(
            f"SELECT {ALONE_COLUMNS} FROM events e WHERE e.event_nid = ANY ($1::bigint[])", nids
        )
        return {each.event_nid: each for each in await with_others(connection, rows)}
    rows = await connection.fetch(
        f"""
        SELECT {RECORD_COLUMNS} FROM events e {RECORD_JOINS}
        WHERE e.event_nid = ANY ($1::bigint[])
        """,
        nids,
    )
    return {record.event_nid: record for record in _records(rows)}


async def with_others(connection: Connection, rows: Sequence[Any]) -> list[EventRecord]:
    """Complete rows that begin with ALONE_COLUMNS by the events that they replaced or lost to."""
    width = len(EventRecord._fields)
    records = [EventRecord._make(row[:width]) for row in rows]
    redacted_by = {
        record.event_nid: row[width]
        for record, row in zip(records, rows, strict=True)
        if row[width] is not None
    }
    wanted = {record.replaces_nid for record in records if record.replaces_nid is not None}
    wanted.update(redacted_by.values())
    if not wanted:
        return records
    others = {
        row["event_nid"]: row
        for row in await connection.fetch(
            "SELECT event_nid, event_id, core FROM events WHERE event_nid = ANY ($1::bigint[])",
            list(wanted),
        )
    }
    return [_completed(each, others, redacted_by.get(each.event_nid)) for each in records]


def _completed(
    record: EventRecord, others: Mapping[int, Any], redacted_by: int | None
) -> EventRecord:
    replaced = others.get(record.replaces_nid) if record.replaces_nid is not None else None
    redaction = others.get(redacted_by) if redacted_by is not None else None
    if replaced is None and redaction is None:
        return record
    return record._replace(
        replaced_core=replaced["core"] if replaced else None,
        replaced_id=replaced["event_id"] if replaced else None,
        redaction_id=redaction["event_id"] if redaction else None,
        redaction_core=redaction["core"] if redaction else None,
    )


async def event_by_id(connection: Connection, event_id: str) -> EventRecord | None:
    """Read an event by its ID, of whatever room and kind."""
    rows = await connection.fetch(
        f"SELECT {RECORD_COLUMNS} FROM events e {RECORD_JOINS} WHERE e.event_id = $1", event_id
    )
    return _records(rows)[0] if rows else None


async def pdus_by_nid(connection: Connection, event_nids: Iterable[int]) -> dict[int, PduRecord]:
    """Read the whole PDUs of events."""
    rows = await connection.fetch(
        """
        SELECT e.event_nid, e.event_id, r.room_id, r.room_version, e.flags, e.state_nid, e.pos,
               e.core, e.rest
        FROM events e JOIN rooms r ON r.room_nid = e.room_nid
        WHERE e.event_nid = ANY ($1::bigint[])
        """,
        list(event_nids),
    )
    return {row["event_nid"]: PduRecord(*row) for row in rows}


async def nids_of(connection: Connection, event_ids: Iterable[str]) -> dict[EventID, int]:
    """Look up the numbers of events; IDs that are not stored are absent."""
    rows = await connection.fetch(
        "SELECT event_id, event_nid FROM events WHERE event_id = ANY ($1::text[])", list(event_ids)
    )
    return {EventID(row["event_id"]): row["event_nid"] for row in rows}


class SentTransaction(NamedTuple):
    """That a device has sent an event under a transaction ID."""

    room_nid: int
    type: str
    txn_id: str
    event_id: EventID
    # Of redactions only: the target belongs to the path of the request.
    core: bytes | None


async def sent_transactions(
    connection: Connection, sender: str, device_id: str, since_ms: int
) -> list[SentTransaction]:
    """Read what a device has sent with transaction IDs since a time (server clock, ms)."""
    rows = await connection.fetch(
        """
        SELECT e.room_nid, e.type, e.txn_id, e.event_id,
               CASE WHEN e.type = 'm.room.redaction' THEN e.core END
        FROM events e
        WHERE e.sender = $1 AND e.device_id = $2 AND e.txn_id IS NOT NULL
          AND e.origin_server_ts >= $3
        """,
        sender,
        device_id,
        since_ms,
    )
    return [SentTransaction(*row) for row in rows]


async def thread_counters(
    connection: Connection, room_nid: int, thread_nid: int
) -> tuple[int, int]:
    """Return the running (notify, highlight) counts of a thread; zeros for a new one."""
    row = await connection.fetchrow(
        "SELECT notify_seq, highlight_seq FROM threads WHERE room_nid = $1 AND thread_nid = $2",
        room_nid,
        thread_nid,
    )
    return (row["notify_seq"], row["highlight_seq"]) if row else (0, 0)


async def redacted_by(
    connection: Connection, redaction_nids: Sequence[int]
) -> dict[int, tuple[int, bytes]]:
    """Return, for redactions that took effect, the redacted event's number and its core."""
    if not redaction_nids:
        return {}
    rows = await connection.fetch(
        """
        SELECT e.redacted_by_nid, e.event_nid, e.core FROM events e
        WHERE e.redacted_by_nid = ANY ($1::bigint[])
        """,
        list(redaction_nids),
    )
    return {row["redacted_by_nid"]: (row["event_nid"], row["core"]) for row in rows}
