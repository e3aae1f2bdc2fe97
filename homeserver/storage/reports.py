"""What users report to the administrators of this server."""

from typing import NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.storage.database import Connection


class ReportRow(NamedTuple):
    """A report of an event, a room or a user; times in ms."""

    report_nid: int
    reported_ts: int
    reporter: UserID
    room_id: RoomID | None
    event_id: EventID | None
    user_id: UserID | None
    reason: str
    closed_ts: int | None


async def insert(
    connection: Connection,
    reporter: str,
    reason: str,
    now_ms: int,
    *,
    room_id: str | None = None,
    event_id: str | None = None,
    user_id: str | None = None,
) -> int:
    """Store a report and return its number."""
    nid: int = await connection.fetchval(
        """
        INSERT INTO reports (reported_ts, reporter, room_id, event_id, user_id, reason)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING report_nid
        """,
        now_ms,
        reporter,
        room_id,
        event_id,
        user_id,
        reason,
    )
    return nid


async def reports_from(
    connection: Connection, first_nid: int, limit: int, *, with_closed: bool
) -> list[ReportRow]:
    """List reports from a number on, oldest first."""
    rows = await connection.fetch(
        """
        SELECT report_nid, reported_ts, reporter, room_id, event_id, user_id, reason, closed_ts
        FROM reports WHERE report_nid >= $1 AND ($3 OR closed_ts IS NULL)
        ORDER BY report_nid LIMIT $2
        """,
        first_nid,
        limit,
        with_closed,
    )
    return [ReportRow(*row) for row in rows]


async def close(connection: Connection, report_nids: list[int], now_ms: int) -> list[int]:
    """Mark open reports as dealt with; return those that were open."""
    rows = await connection.fetch(
        """
        UPDATE reports SET closed_ts = $2
        WHERE report_nid = ANY ($1::bigint[]) AND closed_ts IS NULL RETURNING report_nid
        """,
        report_nids,
        now_ms,
    )
    return sorted(row["report_nid"] for row in rows)


async def is_user_known(connection: Connection, user_id: str) -> bool:
    """Whether a user has an account here, or is or was in a room that this server knows."""
    known: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM users WHERE user_id = $1)
            OR EXISTS (SELECT FROM memberships WHERE user_id = $1)
        """,
        user_id,
    )
    return known
