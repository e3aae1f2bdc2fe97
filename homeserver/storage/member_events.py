"""The member events of a whole room, which may be thousands."""

from homeserver.storage.database import Connection
from homeserver.storage.events import ALONE_COLUMNS, EventRecord, with_others


async def member_records_at(connection: Connection, room_nid: int, pos: int) -> list[EventRecord]:
    """Read every member event of the state after position `pos`.

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
        SELECT {ALONE_COLUMNS}
        FROM held h
        JOIN events e ON e.event_nid = h.event_nid AND e.type = 'm.room.member'
        """,
        room_nid,
        pos,
    )
    return await with_others(connection, rows)
