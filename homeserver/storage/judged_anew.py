"""Events that were accepted on a partial state, and what is undone of them when it is complete."""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.event_writes import PARTIAL_STATE, SnapshotWrite
from homeserver.storage.joined_rooms import PartialJoin
from homeserver.storage.log import LoggedStateChange, state_changes_after
from homeserver.storage.received_events import EventFacts


class Since(NamedTuple):
    """What was accepted in a room since a join, in the order of the timeline.

    `version` and `extremities` are those of the room's row at that time.
    """

    version: int
    extremities: Sequence[int]
    events: Sequence[tuple[int, EventFacts]]
    changes: Sequence[LoggedStateChange]


class MemberRow(NamedTuple):
    """A user's membership of the room, and the event that says it."""

    user_id: str
    membership: str
    event_nid: int
    sender: str


class Undoing(NamedTuple):
    """How a room is to be corrected.

    `flags`: of the events that are not accepted after all. `replacements`: the events that hold a
    key in every state in the place of such a one, 0 for none. `key_nids` are those with another
    history than the stored one; `history` is theirs since the join as (key, position, event),
    `current` what they have now. `snapshot` is that of the current state; None: it is right.
    """

    flags: Mapping[int, int]
    replacements: Mapping[int, int]
    key_nids: Sequence[int]
    history: Sequence[tuple[int, int, int | None]]
    current: Mapping[int, int]
    members: Sequence[MemberRow]
    extremities: Sequence[int]
    snapshot: SnapshotWrite | None


async def accepted_since(tx: Transaction, join: PartialJoin, after: int = 0) -> Since | None:
    """Read what was accepted on partial state since a join; None: the join is not there.

    `after`: only what came later than this position.
    """
    room = await tx.fetchrow(
        """
        SELECT r.version, r.extremities, j.pos FROM rooms r JOIN events j ON j.event_nid = $2
        WHERE r.room_nid = $1 AND j.pos IS NOT NULL
        """,
        join.room_nid,
        join.join_nid,
    )
    if room is None:
        return None
    since = max(room["pos"], after)
    rows = await tx.fetch(
        f"""
        SELECT e.pos, e.event_nid, e.event_id, e.room_nid, e.flags, e.state_nid, e.depth, e.type,
               e.state_key, CASE WHEN e.type = 'm.room.member' THEN {MEMBERSHIP} END
        FROM events e
        WHERE e.room_nid = $1 AND e.pos > $2 AND e.sub = 0 AND e.flags & $3 <> 0
        ORDER BY e.pos
        """,
        join.room_nid,
        since,
        PARTIAL_STATE,
    )
    changes = await state_changes_after(tx, [join.room_nid], since, sys.maxsize)
    events = [(row[0], EventFacts(*tuple(row)[1:])) for row in rows]
    return Since(room["version"], room["extremities"], events, changes)


async def hold_room(tx: Transaction, room_nid: int, version: int) -> bool:
    """Let nobody else write to a room from now on; whether nobody has since a version."""
    found = await tx.fetchval("SELECT version FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    return bool(found == version)


async def undo(tx: Transaction, join: PartialJoin, undoing: Undoing) -> None:
    """Hide events that are not accepted, and take what they have changed out of every state."""
    room_nid, failed = join.room_nid, list(undoing.flags)
    await tx.execute(
        """
        UPDATE events e SET flags = e.flags | u.flags, pos = NULL, sub = 0
        FROM unnest($1::bigint[], $2::smallint[]) AS u(event_nid, flags)
        WHERE e.event_nid = u.event_nid
        """,
        failed,
        list(undoing.flags.values()),
    )
    await tx.execute("DELETE FROM relations WHERE event_nid = ANY ($1::bigint[])", failed)
    await tx.execute("DELETE FROM search_texts WHERE event_nid = ANY ($1::bigint[])", failed)
    await tx.execute(
        """
        UPDATE user_notifications SET is_notification = false, is_highlight = false
        WHERE room_nid = $1 AND event_nid = ANY ($2::bigint[])
        """,
        room_nid,
        failed,
    )
    await _replace(tx, join, undoing.replacements)
    await _correct_current(tx, room_nid, join.join_nid, undoing)


async def tell(tx: Transaction, room_nid: int, undoing: Undoing, position: int) -> None:
    """Say at a position of the log what the keys have now whose history was changed."""
    await tx.execute(
        """
        INSERT INTO state_changes (room_nid, key_nid, pos, event_nid)
        SELECT $1, k.key_nid, $3, s.event_nid
        FROM unnest($2::bigint[]) AS k(key_nid)
        LEFT JOIN room_state s ON s.room_nid = $1 AND s.key_nid = k.key_nid
        ON CONFLICT (room_nid, key_nid, pos) DO UPDATE SET event_nid = excluded.event_nid
        """,
        room_nid,
        undoing.key_nids,
        position,
    )
    await tx.execute(
        """
        UPDATE memberships m SET membership = u.membership, event_nid = u.event_nid,
                                 sender = u.sender, pos = $2
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[])
            AS u(user_id, membership, event_nid, sender)
        WHERE m.room_nid = $1 AND m.user_id = u.user_id
        """,
        room_nid,
        position,
        [each.user_id for each in undoing.members],
        [each.membership for each in undoing.members],
        [each.event_nid for each in undoing.members],
        [each.sender for each in undoing.members],
    )


async def undone_of(connection: Connection, event_nids: Sequence[int]) -> set[int]:
    """Return those events of the timeline that are not shown any more."""
    rows = await connection.fetch(
        "SELECT event_nid FROM events WHERE event_nid = ANY ($1::bigint[]) AND pos IS NULL",
        event_nids,
    )
    return {row["event_nid"] for row in rows}


async def _replace(tx: Transaction, join: PartialJoin, replacements: Mapping[int, int]) -> None:
    await tx.execute(
        """
        WITH undone AS (
            SELECT * FROM unnest($2::bigint[], $3::bigint[]) AS u(event_nid, by_nid)
        ), replacing AS (
            UPDATE events e SET replaces_nid = nullif(u.by_nid, 0)
            FROM undone u, events j
            WHERE j.event_nid = $4 AND e.room_nid = $1 AND e.pos > j.pos
              AND e.replaces_nid = u.event_nid
        )
        UPDATE state_snapshots s SET event_nids = (
            SELECT array_agg(coalesce(u.by_nid, n.event_nid) ORDER BY n.ord)
            FROM unnest(s.event_nids) WITH ORDINALITY AS n(event_nid, ord)
            LEFT JOIN undone u ON u.event_nid = n.event_nid
        )
        WHERE s.room_nid = $1 AND s.event_nids && $2::bigint[]
        """,
        join.room_nid,
        list(replacements),
        list(replacements.values()),
        join.join_nid,
    )


async def _correct_current(tx: Transaction, room_nid: int, join_nid: int, undoing: Undoing) -> None:
    keys = list(undoing.key_nids)
    await tx.execute(
        """
        DELETE FROM state_changes c USING events j
        WHERE j.event_nid = $3 AND c.room_nid = $1 AND c.key_nid = ANY ($2::bigint[])
          AND c.pos > j.pos
        """,
        room_nid,
        keys,
        join_nid,
    )
    await tx.execute(
        """
        INSERT INTO state_changes (room_nid, key_nid, pos, event_nid)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
        """,
        room_nid,
        [key_nid for key_nid, _, _ in undoing.history],
        [pos for _, pos, _ in undoing.history],
        [event_nid for _, _, event_nid in undoing.history],
    )
    await tx.execute(
        "DELETE FROM room_state WHERE room_nid = $1 AND key_nid = ANY ($2::bigint[])",
        room_nid,
        keys,
    )
    await tx.execute(
        """
        INSERT INTO room_state (room_nid, key_nid, event_nid)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[])
        """,
        room_nid,
        list(undoing.current),
        list(undoing.current.values()),
    )
    snapshot = undoing.snapshot
    if snapshot is not None:
        await tx.execute(
            """
            INSERT INTO state_snapshots
                (state_nid, room_nid, parent_nid, height, key_nids, event_nids)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            *snapshot,
        )
    await tx.execute(
        """
        UPDATE rooms SET extremities = $2, state_nid = coalesce($3, state_nid) WHERE room_nid = $1
        """,
        room_nid,
        list(undoing.extremities),
        snapshot.state_nid if snapshot else None,
    )
