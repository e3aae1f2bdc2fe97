"""State snapshots, the current state, and the state at a position of the log."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID
from homeserver.storage.core_json import KNOWN_MEMBERSHIP, MEMBERSHIP, MEMBERSHIP_JOIN
from homeserver.storage.database import Connection


class StateRow(NamedTuple):
    """One entry of a room's state: the key with its number, and the event that holds it."""

    key_nid: int
    type: str
    state_key: str
    event_nid: int
    event_id: EventID
    # The membership of an `m.room.member` event, else None.
    membership: str | None


class SnapshotLink(NamedTuple):
    """One snapshot of a chain: `delta` maps key numbers to event numbers, 0 for a removed key."""

    state_nid: int
    height: int
    delta: dict[int, int]


_MEMBERSHIP = f"CASE WHEN e.type = 'm.room.member' THEN {MEMBERSHIP} END AS membership"


def _state_rows(rows: Iterable[object]) -> list[StateRow]:
    return [StateRow(*row) for row in rows]  # type: ignore[misc]  # a Record is a tuple of columns


async def current_state(connection: Connection, room_nid: int) -> list[StateRow]:
    """Read the whole current state of a room."""
    rows = await connection.fetch(
        f"""
        SELECT s.key_nid, e.type, e.state_key, s.event_nid, e.event_id,
               CASE WHEN e.type = 'm.room.member' THEN {KNOWN_MEMBERSHIP} END AS membership
        FROM room_state s JOIN events e ON e.event_nid = s.event_nid
        {MEMBERSHIP_JOIN} AND e.type = 'm.room.member'
        WHERE s.room_nid = $1
        """,
        room_nid,
    )
    return _state_rows(rows)


async def snapshot_chain(connection: Connection, state_nid: int) -> list[SnapshotLink]:
    """Read a snapshot and its ancestors, oldest first."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE chain AS (
            SELECT s.* FROM state_snapshots s WHERE s.state_nid = $1
            UNION ALL
            SELECT p.* FROM state_snapshots p JOIN chain c ON p.state_nid = c.parent_nid
        )
        SELECT state_nid, height, key_nids, event_nids FROM chain ORDER BY height
        """,
        state_nid,
    )
    return [
        SnapshotLink(
            row["state_nid"],
            row["height"],
            dict(zip(row["key_nids"], row["event_nids"], strict=True)),
        )
        for row in rows
    ]


async def state_at_snapshot(
    connection: Connection, state_nid: int, keys: Sequence[tuple[str, str]] | None = None
) -> list[StateRow]:
    """Read the state that a snapshot stands for: all of it, or the given (type, state key)s."""
    rows = await connection.fetch(
        f"""
        WITH RECURSIVE chain AS (
            SELECT s.* FROM state_snapshots s WHERE s.state_nid = $1
            UNION ALL
            SELECT p.* FROM state_snapshots p JOIN chain c ON p.state_nid = c.parent_nid
        ), entry AS (
            SELECT DISTINCT ON (d.key_nid) d.key_nid, d.event_nid
            FROM chain c, unnest(c.key_nids, c.event_nids) AS d(key_nid, event_nid)
            WHERE $2::text[] IS NULL OR d.key_nid IN (
                SELECT k.key_nid FROM unnest($2::text[], $3::text[]) AS w(type, state_key)
                JOIN state_keys k ON k.type = w.type AND k.state_key = w.state_key
            )
            ORDER BY d.key_nid, c.height DESC
        )
        SELECT n.key_nid, e.type, e.state_key, n.event_nid, e.event_id, {_MEMBERSHIP}
        FROM entry n JOIN events e ON e.event_nid = n.event_nid
        """,
        state_nid,
        None if keys is None else [key[0] for key in keys],
        None if keys is None else [key[1] for key in keys],
    )
    return _state_rows(rows)


class PlacedChange(NamedTuple):
    """A change of a room's current state at a position; event_nid None: the key was removed."""

    key_nid: int
    type: str
    state_key: str
    pos: int
    event_nid: int | None


async def state_changes_between(
    connection: Connection, room_nid: int, after: int, upto: int
) -> list[PlacedChange]:
    """Read the changes of the current state at positions in (after, upto], in order."""
    rows = await connection.fetch(
        """
        SELECT c.key_nid, k.type, k.state_key, c.pos, c.event_nid
        FROM state_changes c JOIN state_keys k ON k.key_nid = c.key_nid
        WHERE c.room_nid = $1 AND c.pos > $2 AND c.pos <= $3
        ORDER BY c.pos
        """,
        room_nid,
        after,
        upto,
    )
    return [PlacedChange(*row) for row in rows]


async def state_nids_at(connection: Connection, room_nid: int, pos: int) -> dict[int, int]:
    """Return key number -> event number of the state as it was after position `pos`.

    The current state, with what changed since put back: cost grows with the changes since.
    """
    rows = await connection.fetch(
        """
        WITH later AS (
            SELECT DISTINCT c.key_nid FROM state_changes c WHERE c.room_nid = $1 AND c.pos > $2
        )
        SELECT s.key_nid, s.event_nid FROM room_state s
        WHERE s.room_nid = $1 AND NOT EXISTS (SELECT 1 FROM later l WHERE l.key_nid = s.key_nid)
        UNION ALL
        SELECT l.key_nid, p.event_nid
        FROM later l CROSS JOIN LATERAL (
            SELECT c.event_nid FROM state_changes c
            WHERE c.room_nid = $1 AND c.key_nid = l.key_nid AND c.pos <= $2
            ORDER BY c.pos DESC LIMIT 1
        ) p
        WHERE p.event_nid IS NOT NULL
        """,
        room_nid,
        pos,
    )
    return {row["key_nid"]: row["event_nid"] for row in rows}


async def key_history(
    connection: Connection, room_nid: int, event_type: str, state_key: str
) -> list[tuple[int, int | None, bytes | None]]:
    """Return (position, event number, core) of every change of one state key, in order."""
    rows = await connection.fetch(
        """
        SELECT c.pos, c.event_nid, e.core
        FROM state_changes c
        JOIN state_keys k ON k.key_nid = c.key_nid
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE c.room_nid = $1 AND k.type = $2 AND k.state_key = $3
        ORDER BY c.pos
        """,
        room_nid,
        event_type,
        state_key,
    )
    return [(row["pos"], row["event_nid"], row["core"]) for row in rows]


async def state_nid_at(
    connection: Connection, room_nid: int, event_type: str, state_key: str, pos: int
) -> int | None:
    """Return the event that held one state key after position `pos`."""
    nid: int | None = await connection.fetchval(
        """
        SELECT c.event_nid FROM state_changes c
        JOIN state_keys k ON k.key_nid = c.key_nid
        WHERE k.type = $2 AND k.state_key = $3 AND c.room_nid = $1 AND c.pos <= $4
        ORDER BY c.pos DESC LIMIT 1
        """,
        room_nid,
        event_type,
        state_key,
        pos,
    )
    return nid


async def member_nids_at(
    connection: Connection, room_nid: int, user_ids: Sequence[str], pos: int
) -> list[int]:
    """Return the member events of some users after position `pos`."""
    rows = await connection.fetch(
        """
        SELECT c.event_nid
        FROM unnest($2::text[]) AS u(user_id)
        JOIN state_keys k ON k.type = 'm.room.member' AND k.state_key = u.user_id
        CROSS JOIN LATERAL (
            SELECT s.event_nid FROM state_changes s
            WHERE s.room_nid = $1 AND s.key_nid = k.key_nid AND s.pos <= $3
            ORDER BY s.pos DESC LIMIT 1
        ) c
        WHERE c.event_nid IS NOT NULL
        """,
        room_nid,
        list(user_ids),
        pos,
    )
    return [row["event_nid"] for row in rows]
