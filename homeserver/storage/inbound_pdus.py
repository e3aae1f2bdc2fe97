"""The staging area of federation: PDUs that are accepted and not yet taken into their room."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.storage.database import Connection


class StagedPdu(NamedTuple):
    """One PDU as it is stored: without `unsigned`, redacted where its hash was wrong."""

    inbound_nid: int
    event_id: EventID
    origin: ServerName
    pdu: bytes
    attempts: int


async def stage(
    connection: Connection,
    origin: ServerName,
    received_ts: int,
    pdus: Sequence[tuple[RoomID, EventID, bytes]],
) -> None:
    """Store (room, event ID, PDU)s in one statement; what the origin has sent before stays."""
    await connection.execute(
        """
        INSERT INTO inbound_pdus (room_id, event_id, origin, received_ts, pdu)
        SELECT p.room_id, p.event_id, $1, $2, p.pdu
        FROM unnest($3::text[], $4::text[], $5::bytea[]) AS p(room_id, event_id, pdu)
        ON CONFLICT (event_id, origin) DO NOTHING
        """,
        origin,
        received_ts,
        [room_id for room_id, _, _ in pdus],
        [event_id for _, event_id, _ in pdus],
        [pdu for _, _, pdu in pdus],
    )


async def rooms_waiting(connection: Connection, now_ms: int, limit: int) -> list[RoomID]:
    """List rooms with PDUs that can be taken in now and that no node is at work on."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT p.room_id FROM inbound_pdus p
        WHERE p.not_before <= $1 AND NOT EXISTS (
            SELECT FROM inbound_rooms w WHERE w.room_id = p.room_id AND w.until_ms > $1
        )
        LIMIT $2
        """,
        now_ms,
        limit,
    )
    return [RoomID(row["room_id"]) for row in rows]


async def of_room(connection: Connection, room_id: str, now_ms: int, limit: int) -> list[StagedPdu]:
    """Read the oldest PDUs of a room that may be tried now, in the order in which they came."""
    rows = await connection.fetch(
        """
        SELECT inbound_nid, event_id, origin, pdu, attempts FROM inbound_pdus
        WHERE room_id = $1 AND not_before <= $2 ORDER BY inbound_nid LIMIT $3
        """,
        room_id,
        now_ms,
        limit,
    )
    return [StagedPdu(*row) for row in rows]


async def unstage(connection: Connection, inbound_nids: Iterable[int]) -> None:
    """Delete PDUs that are in their room, or that never will be."""
    await connection.execute(
        "DELETE FROM inbound_pdus WHERE inbound_nid = ANY ($1::bigint[])", list(inbound_nids)
    )


async def postpone(
    connection: Connection, inbound_nids: Sequence[int], not_before: Sequence[int]
) -> None:
    """Have PDUs tried again, each not before a time (server clock, ms)."""
    await connection.execute(
        """
        UPDATE inbound_pdus p SET attempts = p.attempts + 1, not_before = l.not_before
        FROM unnest($1::bigint[], $2::bigint[]) AS l(inbound_nid, not_before)
        WHERE p.inbound_nid = l.inbound_nid
        """,
        list(inbound_nids),
        list(not_before),
    )


async def claim_room(
    connection: Connection, room_id: str, node_id: str, now_ms: int, until_ms: int
) -> bool:
    """Take, or keep, the work on a room until a time; False: another node has it."""
    claimed = await connection.fetchval(
        """
        INSERT INTO inbound_rooms (room_id, node_id, until_ms) VALUES ($1, $2, $4)
        ON CONFLICT (room_id) DO UPDATE SET node_id = excluded.node_id, until_ms = excluded.until_ms
        WHERE inbound_rooms.node_id = excluded.node_id OR inbound_rooms.until_ms <= $3
        RETURNING 1
        """,
        room_id,
        node_id,
        now_ms,
        until_ms,
    )
    return claimed is not None


async def release_room(connection: Connection, room_id: str, node_id: str) -> None:
    """Give up the work on a room."""
    await connection.execute(
        "DELETE FROM inbound_rooms WHERE room_id = $1 AND node_id = $2", room_id, node_id
    )
