"""Rooms: their heads, and the numbers that stand for rooms, events, snapshots and state keys."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.event import StateKey
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.database import Connection


class RoomRow(NamedTuple):
    """The head of a room as stored."""

    room_nid: int
    room_id: RoomID
    room_version: str
    version: int
    depth: int
    extremities: tuple[tuple[int, EventID], ...]
    state_nid: int
    notify_seq: int
    highlight_seq: int
    is_partial_state: bool


async def load_room(connection: Connection, room_id: str) -> RoomRow | None:
    """Read the head of a room by its ID."""
    row = await connection.fetchrow(
        """
        SELECT r.room_nid, r.room_id, r.room_version, r.version, r.depth, r.state_nid,
               r.notify_seq, r.highlight_seq, r.is_partial_state, x.nids, x.ids
        FROM rooms r
        LEFT JOIN LATERAL (
            SELECT array_agg(e.event_nid ORDER BY e.event_nid) AS nids,
                   array_agg(e.event_id ORDER BY e.event_nid) AS ids
            FROM events e WHERE e.event_nid = ANY (r.extremities)
        ) x ON true
        WHERE r.room_id = $1
        """,
        room_id,
    )
    if row is None:
        return None
    return RoomRow(
        row["room_nid"],
        RoomID(row["room_id"]),
        row["room_version"],
        row["version"],
        row["depth"],
        tuple(zip(row["nids"] or (), row["ids"] or (), strict=True)),
        row["state_nid"],
        row["notify_seq"],
        row["highlight_seq"],
        row["is_partial_state"],
    )


async def room_nid_of(connection: Connection, room_id: str) -> int | None:
    """Look up a room's number."""
    nid: int | None = await connection.fetchval(
        "SELECT room_nid FROM rooms WHERE room_id = $1", room_id
    )
    return nid


async def room_ids_of(connection: Connection, room_nids: Iterable[int]) -> dict[int, RoomID]:
    """Look up the IDs of rooms."""
    rows = await connection.fetch(
        "SELECT room_nid, room_id FROM rooms WHERE room_nid = ANY ($1::bigint[])", list(room_nids)
    )
    return {row["room_nid"]: RoomID(row["room_id"]) for row in rows}


async def reserve_nids(connection: Connection, sequence: str, count: int) -> range:
    """Take `count` consecutive numbers from `event_nids`, `room_nids` or `state_nids`.

    One statement under the sequence's own advisory lock, so that two nodes that reserve at the
    same time get ranges that do not overlap.
    """
    last: int = await connection.fetchval(
        """
        WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtext($1)))
        SELECT setval($1::regclass, nextval($1::regclass) + $2 - 1) FROM held
        """,
        sequence,
        count,
    )
    return range(last - count + 1, last + 1)


async def intern_state_keys(
    connection: Connection, keys: Sequence[StateKey]
) -> dict[StateKey, int]:
    """Return the numbers of state keys, giving a number to those that have none yet."""
    types, state_keys = [key[0] for key in keys], [key[1] for key in keys]
    select = """
        SELECT k.type, k.state_key, k.key_nid
        FROM unnest($1::text[], $2::text[]) AS u(type, state_key)
        JOIN state_keys k ON k.type = u.type AND k.state_key = u.state_key
    """
    rows = await connection.fetch(select, types, state_keys)
    if len(rows) < len(set(keys)):
        await connection.execute(
            """
            INSERT INTO state_keys (type, state_key)
            SELECT DISTINCT u.type, u.state_key
            FROM unnest($1::text[], $2::text[]) AS u(type, state_key)
            ORDER BY 2, 1
            ON CONFLICT DO NOTHING
            """,
            types,
            state_keys,
        )
        rows = await connection.fetch(select, types, state_keys)
    return {(row["type"], row["state_key"]): row["key_nid"] for row in rows}
