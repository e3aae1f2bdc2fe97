"""The member events of a whole room, which may be thousands."""

from homeserver.protocol.identifiers import EventID
from homeserver.storage.database import Connection
from homeserver.storage.events import EventRecord


async def member_records_at(
    connection: Connection, room_nid: int, pos: int
) -> list[tuple[EventRecord, str | None]]:
    """Read every member event of the state after position `pos`, with its membership.

    Replaced events and redactions come with them, as everywhere.
    """
    rows = await connection.fetch(
        """
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
        SELECT e.event_nid, e.event_id, e.pos, e.sub, e.depth, e.sender, e.state_key,
               e.origin_server_ts, e.flags, e.state_nid, e.replaces_nid, e.device_id, e.txn_id,
               e.core, p.core AS replaced_core, p.event_id AS replaced_id,
               r.event_id AS redaction_id, r.core AS redaction_core,
               convert_from(e.core, 'UTF8')::json -> 'content' ->> 'membership' AS membership
        FROM held h
        JOIN events e ON e.event_nid = h.event_nid AND e.type = 'm.room.member'
        LEFT JOIN events p ON p.event_nid = e.replaces_nid
        LEFT JOIN events r ON r.event_nid = e.redacted_by_nid
        """,
        room_nid,
        pos,
    )
    return [
        (
            EventRecord(
                row["event_nid"],
                EventID(row["event_id"]),
                room_nid,
                row["pos"],
                row["sub"],
                row["depth"],
                "m.room.member",
                row["sender"],
                row["state_key"],
                row["origin_server_ts"],
                row["flags"],
                row["state_nid"],
                row["replaces_nid"],
                None,
                row["device_id"],
                row["txn_id"],
                0,
                0,
                row["core"],
                row["replaced_core"],
                row["replaced_id"],
                row["redaction_id"],
                row["redaction_core"],
            ),
            row["membership"],
        )
        for row in rows
    ]
