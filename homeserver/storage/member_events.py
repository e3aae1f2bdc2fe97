"""The member events of a whole room, which may be thousands."""

from homeserver.storage.core_json import KNOWN_MEMBERSHIP, MEMBERSHIP_JOIN
from homeserver.storage.database import Connection
from homeserver.storage.events import RECORD_COLUMNS, RECORD_JOINS, EventRecord


async def member_records_at(
    connection: Connection, room_nid: int, pos: int
) -> list[tuple[EventRecord, str | None]]:
    """Read every member event of the state after position `pos`, with its membership.

    Replaced events and redactions come with them, as everywhere.
    """
    rows = await connection.fetch(
        f"""
        WITH later AS (
            SELECT DISTINCT c.key_nid FROM state_changes c WHERE c.room_nid = $1 AND c.pos > $2
        ), held AS (
            SELECT s.event_nid FROM room_state s
            WHERE s.room_nid = $1 AND s.key_nid NOT IN (SELECT l.key_nid FROM later l)
            UNION ALL
            SELECT p.event_nid FROM later l CROSS JOIN LATERAL (
                SELECT c.event_nid FROM state_changes c
                WHERE c.room_nid = $1 AND c.key_nid = l.key_nid AND c.pos <= $2
                ORDER BY c.pos DESC LIMIT 1
            ) p
        )
        SELECT {RECORD_COLUMNS},
               {KNOWN_MEMBERSHIP} AS membership
        FROM held h
        JOIN events e ON e.event_nid = h.event_nid AND e.type = 'm.room.member'
        {MEMBERSHIP_JOIN}
        {RECORD_JOINS}
        """,
        room_nid,
        pos,
    )
    return [(EventRecord(*columns), membership) for *columns, membership in map(list, rows)]
