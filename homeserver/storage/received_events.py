"""What judging received events asks of the stored ones, and how outliers are stored."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.event_writes import EventRow


class EventFacts(NamedTuple):
    """What is known of a stored event besides its PDU."""

    event_nid: int
    event_id: EventID
    room_nid: int
    flags: int
    # Snapshot of the state before it; None for outliers.
    state_nid: int | None
    depth: int
    type: str
    state_key: str | None
    membership: str | None


async def facts_of(connection: Connection, event_ids: Iterable[str]) -> list[EventFacts]:
    """Read the facts of those of the events that are stored, of whatever room."""
    rows = await connection.fetch(
        f"""
        SELECT e.event_nid, e.event_id, e.room_nid, e.flags, e.state_nid, e.depth, e.type,
               e.state_key, CASE WHEN e.type = 'm.room.member' THEN {MEMBERSHIP} END
        FROM events e WHERE e.event_id = ANY ($1::text[])
        """,
        list(event_ids),
    )
    return [EventFacts(*row) for row in rows]


class AuthEdge(NamedTuple):
    """An event of an auth graph with the numbers of its auth events."""

    event_nid: int
    auth_nids: Sequence[int]
    flags: int
    is_power_levels: bool


async def auth_chains(connection: Connection, event_nids: Iterable[int]) -> list[AuthEdge]:
    """Read events and everything in their auth chains."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE chain(event_nid) AS (
            SELECT unnest($1::bigint[])
            UNION
            SELECT unnest(e.auth_nids) FROM events e JOIN chain c ON e.event_nid = c.event_nid
        )
        SELECT e.event_nid, e.auth_nids, e.flags,
               e.type = 'm.room.power_levels' AND e.state_key = '' AS is_power_levels
        FROM chain c JOIN events e ON e.event_nid = c.event_nid
        """,
        list(event_nids),
    )
    return [AuthEdge(*row) for row in rows]


async def insert_outliers(tx: Transaction, rows: Sequence[EventRow]) -> int:
    """Store events outside of the timeline in one statement; those that are stored stay.

    Returns how many were stored. Waits for who is storing one of them; all do it in one order.
    """
    count: int = await tx.fetchval(
        """
        WITH stored AS (
            INSERT INTO events (event_nid, event_id, room_nid, depth, type, sender, state_key,
                                origin_server_ts, flags, auth_nids, core, rest)
            SELECT e.event_nid, e.event_id, e.room_nid, e.depth, e.type, e.sender, e.state_key,
                   e.origin_server_ts, e.flags, e.auth_nids, e.core, e.rest
            FROM unnest($1::event_write[]) e
            ON CONFLICT DO NOTHING RETURNING 1
        )
        SELECT count(*) FROM stored
        """,
        sorted(rows, key=lambda row: row.event_id),
    )
    return count


async def await_redaction(connection: Connection, target_id: str, redaction_nid: int) -> None:
    """Note that a redaction waits for its target. The redaction itself may be stored later."""
    await connection.execute(
        """
        INSERT INTO waiting_redactions (target_id, redaction_nid) VALUES ($1, $2)
        ON CONFLICT DO NOTHING
        """,
        target_id,
        redaction_nid,
    )


async def waiting_redactions(
    connection: Connection, room_nid: int, target_ids: Iterable[str]
) -> list[tuple[EventID, int]]:
    """Return (target, redaction) of the accepted redactions of a room, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT w.target_id, w.redaction_nid
        FROM waiting_redactions w JOIN events e ON e.event_nid = w.redaction_nid
        WHERE w.target_id = ANY ($2::text[]) AND e.room_nid = $1 AND e.pos IS NOT NULL
        ORDER BY e.pos, e.sub
        """,
        room_nid,
        list(target_ids),
    )
    return [(EventID(row["target_id"]), row["redaction_nid"]) for row in rows]


async def open_gap(
    connection: Connection, room_nid: int, child_nid: int, missing: Iterable[str]
) -> None:
    """Note which prev events of a stored event, or one about to be, are not stored."""
    await connection.execute(
        """
        INSERT INTO backward_extremities (room_nid, event_id, child_nid)
        SELECT $1, m.event_id, $2 FROM unnest($3::text[]) AS m(event_id) ON CONFLICT DO NOTHING
        """,
        room_nid,
        child_nid,
        list(missing),
    )


async def named_as_prev(
    connection: Connection, room_nid: int, event_ids: Iterable[str]
) -> set[EventID]:
    """Return which events accepted events of the timeline wait for as their prev events."""
    rows = await connection.fetch(
        """
        SELECT b.event_id FROM backward_extremities b JOIN events e ON e.event_nid = b.child_nid
        WHERE b.room_nid = $1 AND b.event_id = ANY ($2::text[]) AND e.flags & 7 = 0
        """,
        room_nid,
        list(event_ids),
    )
    return {EventID(row["event_id"]) for row in rows}


async def close_gaps(connection: Connection, room_nid: int, event_ids: Iterable[str]) -> None:
    """Forget that events were missing: they are stored now."""
    await connection.execute(
        "DELETE FROM backward_extremities WHERE room_nid = $1 AND event_id = ANY ($2::text[])",
        room_nid,
        list(event_ids),
    )


async def crowded_rooms(connection: Connection, most: int, limit: int) -> list[RoomID]:
    """List rooms with more forward extremities than `most`."""
    rows = await connection.fetch(
        "SELECT room_id FROM rooms WHERE cardinality(extremities) > $1 LIMIT $2", most, limit
    )
    return [RoomID(row["room_id"]) for row in rows]


async def ids_of(connection: Connection, event_nids: Iterable[int]) -> dict[int, EventID]:
    """Look up the IDs of events."""
    rows = await connection.fetch(
        "SELECT event_nid, event_id FROM events WHERE event_nid = ANY ($1::bigint[])",
        list(event_nids),
    )
    return {row["event_nid"]: EventID(row["event_id"]) for row in rows}


async def is_of_room(connection: Connection, room_nid: int, room_id: str) -> bool:
    """Whether a room's number and ID belong together."""
    found = await connection.fetchval(
        "SELECT 1 FROM rooms WHERE room_nid = $1 AND room_id = $2", room_nid, room_id
    )
    return found is not None
