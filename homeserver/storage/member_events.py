"""The member events of a whole room, which may be thousands."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from homeserver.protocol.identifiers import EventID
from homeserver.storage.database import Connection

# (event ID, user, position, origin_server_ts, core, event it replaced, redaction applied to it),
# as the database gives it: a record of our own for each row costs as much as reading it.
MemberRow: TypeAlias = tuple[EventID, str, int | None, int, bytes, int | None, int | None]
# Event ID and core by event number.
Others: TypeAlias = Mapping[int, tuple[EventID, bytes]]


async def members_at(connection: Connection, room_nid: int, pos: int) -> Sequence[MemberRow]:
    """Read every member event of the state after position `pos`.

    The events are looked up by their numbers, in order: a join reads the whole table where the
    room is a good part of it.
    """
    rows = await connection.fetch(
        """
        WITH later AS (
            SELECT DISTINCT c.key_nid FROM state_changes c WHERE c.room_nid = $1 AND c.pos > $2
        )
        SELECT e.event_id, e.state_key, e.pos, e.origin_server_ts, e.core, e.replaces_nid,
               e.redacted_by_nid
        FROM events e
        WHERE e.type = 'm.room.member' AND e.event_nid = ANY (ARRAY(
            SELECT s.event_nid FROM room_state s
            WHERE s.room_nid = $1 AND s.key_nid NOT IN (SELECT l.key_nid FROM later l)
            UNION ALL
            SELECT p.event_nid FROM later l CROSS JOIN LATERAL (
                SELECT c.event_nid FROM state_changes c
                WHERE c.room_nid = $1 AND c.key_nid = l.key_nid AND c.pos <= $2
                ORDER BY c.pos DESC LIMIT 1
            ) p
        ))
        """,
        room_nid,
        pos,
    )
    return cast(Sequence[MemberRow], rows)


async def others_of(connection: Connection, rows: Iterable[MemberRow]) -> Others:
    """Read what member events have replaced, and the redactions that were applied to them."""
    wanted = {nid for row in rows for nid in row[5:] if nid is not None}
    if not wanted:
        return {}
    found = await connection.fetch(
        "SELECT event_nid, event_id, core FROM events WHERE event_nid = ANY ($1::bigint[])",
        list(wanted),
    )
    return {nid: (event_id, core) for nid, event_id, core in found}
