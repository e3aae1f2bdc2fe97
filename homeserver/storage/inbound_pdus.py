"""The staging area of federation: PDUs that are accepted and not yet taken into their room.

A PDU is due, or held until a time: because it has been tried in vain, or because somebody is at
work on it, who has to hold it again before the time is over.
"""

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
    *,
    limit: int,
) -> bool:
    """Store (room, event ID, PDU)s in one statement; what the origin has sent before stays.

    False: nothing is stored, because in one of the rooms `limit` PDUs of the origin wait already.
    """
    stored = await connection.fetchval(
        """
        WITH free AS (
            SELECT NOT EXISTS (
                SELECT FROM (SELECT DISTINCT unnest($3::text[]) AS room_id) r
                CROSS JOIN LATERAL (
                    SELECT FROM inbound_pdus w
                    WHERE w.room_id = r.room_id AND w.origin = $1 OFFSET $6 - 1 LIMIT 1
                ) full_room
            ) AS is_free
        ), stored AS (
            INSERT INTO inbound_pdus (room_id, event_id, origin, received_ts, pdu)
            SELECT p.room_id, p.event_id, $1, $2, p.pdu
            FROM unnest($3::text[], $4::text[], $5::bytea[]) AS p(room_id, event_id, pdu), free
            WHERE free.is_free
            ON CONFLICT (event_id, origin) DO NOTHING
        )
        SELECT is_free FROM free
        """,
        origin,
        received_ts,
        [room_id for room_id, _, _ in pdus],
        [event_id for _, event_id, _ in pdus],
        [pdu for _, _, pdu in pdus],
        limit,
    )
    return bool(stored)


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
    """Read the oldest PDUs of a room that are due, in the order in which they came."""
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


async def read(connection: Connection, inbound_nids: Iterable[int]) -> list[StagedPdu]:
    """Read those of the PDUs that are still staged, in the order in which they came."""
    rows = await connection.fetch(
        """
        SELECT inbound_nid, event_id, origin, pdu, attempts FROM inbound_pdus
        WHERE inbound_nid = ANY ($1::bigint[]) ORDER BY inbound_nid
        """,
        list(inbound_nids),
    )
    return [StagedPdu(*row) for row in rows]


async def held_in(connection: Connection, room_id: str, now_ms: int, limit: int) -> list[int]:
    """List the newest PDUs of a room that are held."""
    rows = await connection.fetch(
        """
        SELECT inbound_nid FROM inbound_pdus
        WHERE room_id = $1 AND not_before > $2 ORDER BY inbound_nid DESC LIMIT $3
        """,
        room_id,
        now_ms,
        limit,
    )
    return [row["inbound_nid"] for row in rows]


async def count_held(connection: Connection, room_id: str, origin: str, now_ms: int) -> int:
    """Count the PDUs of a room that are held and that one server has sent."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM inbound_pdus
        WHERE room_id = $1 AND origin = $2 AND not_before > $3
        """,
        room_id,
        origin,
        now_ms,
    )
    return count


async def unstage(
    connection: Connection, room_id: str, now_ms: int, inbound_nids: Iterable[int]
) -> bool:
    """Delete PDUs of a room that are in it, or never will be. Whether others of it are held."""
    is_any_held = await connection.fetchval(
        """
        WITH gone AS (DELETE FROM inbound_pdus WHERE inbound_nid = ANY ($1::bigint[]))
        SELECT EXISTS (SELECT FROM inbound_pdus WHERE room_id = $2 AND not_before > $3)
        """,
        list(inbound_nids),
        room_id,
        now_ms,
    )
    return bool(is_any_held)


async def postpone(
    connection: Connection, inbound_nids: Sequence[int], not_before: Sequence[int]
) -> None:
    """Have PDUs tried again after a failure, each not before a time (server clock, ms)."""
    await connection.execute(
        """
        UPDATE inbound_pdus p SET attempts = p.attempts + 1, not_before = l.not_before
        FROM unnest($1::bigint[], $2::bigint[]) AS l(inbound_nid, not_before)
        WHERE p.inbound_nid = l.inbound_nid
        """,
        list(inbound_nids),
        list(not_before),
    )


async def hold(connection: Connection, inbound_nids: Iterable[int], until_ms: int) -> None:
    """Have PDUs left alone until a time (server clock, ms); 0: they are due."""
    await connection.execute(
        "UPDATE inbound_pdus SET not_before = $2 WHERE inbound_nid = ANY ($1::bigint[])",
        list(inbound_nids),
        until_ms,
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


async def keep_rooms(
    connection: Connection, room_ids: Iterable[str], node_id: str, until_ms: int
) -> None:
    """Prolong the work on rooms that a node still has."""
    await connection.execute(
        "UPDATE inbound_rooms SET until_ms = $3 WHERE node_id = $2 AND room_id = ANY ($1::text[])",
        list(room_ids),
        node_id,
        until_ms,
    )


async def release_room(connection: Connection, room_id: str, node_id: str) -> None:
    """Give up the work on a room."""
    await connection.execute(
        "DELETE FROM inbound_rooms WHERE room_id = $1 AND node_id = $2", room_id, node_id
    )
