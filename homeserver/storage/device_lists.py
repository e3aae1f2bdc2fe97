"""Whose keys have changed since when, and who shared which rooms then and shares them now."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection


class ThenAndNow(NamedTuple):
    """Whether a user was joined to a room at one position, and at a later one."""

    user_id: UserID
    room_nid: int
    was_joined: bool
    is_joined: bool


async def changed_after(connection: Connection, after: int) -> set[UserID]:
    """Return the users, of any server, whose keys have changed after a position."""
    rows = await connection.fetch(
        "SELECT user_id FROM device_list_positions WHERE keys_pos > $1", after
    )
    return {UserID(row["user_id"]) for row in rows}


async def stream_id_of(connection: Connection, user_id: str) -> int:
    """Return the position at which one of a user's devices has last changed; 0: never.

    What other servers know updates of device lists by: cross-signing keys have none.
    """
    pos: int | None = await connection.fetchval(
        """
        SELECT max(pos) FROM user_changes
        WHERE user_id = $1 AND kind IN ('device_changed', 'device_keys_changed')
        """,
        user_id,
    )
    return pos or 0


async def members_among(
    connection: Connection, user_ids: Sequence[str], room_nids: Sequence[int]
) -> set[UserID]:
    """Return those of the users who are joined to one of the rooms."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT user_id FROM memberships
        WHERE user_id = ANY ($1::text[]) AND room_nid = ANY ($2::bigint[]) AND membership = 'join'
        """,
        list(user_ids),
        list(room_nids),
    )
    return {UserID(row["user_id"]) for row in rows}


# Membership events have no position in `memberships` but for the last one.
_JOINED_AT: Final = f"""
    SELECT {MEMBERSHIP} = 'join' AS is_joined
    FROM state_keys k
    CROSS JOIN LATERAL (
        SELECT c.event_nid FROM state_changes c
        WHERE c.room_nid = m.room_nid AND c.key_nid = k.key_nid AND c.pos <= %s
        ORDER BY c.pos DESC LIMIT 1
    ) c
    JOIN events e ON e.event_nid = c.event_nid
    WHERE k.type = 'm.room.member' AND k.state_key = m.user_id
"""
_THEN_AND_NOW: Final = f"""
    SELECT m.user_id, m.room_nid,
           CASE WHEN m.pos <= $1 THEN m.membership = 'join' ELSE coalesce(a.is_joined, false) END
               AS was_joined,
           CASE WHEN m.pos <= $2 THEN m.membership = 'join' ELSE coalesce(b.is_joined, false) END
               AS is_joined
    FROM memberships m
    LEFT JOIN LATERAL ({_JOINED_AT % "$1"}) a ON m.pos > $1
    LEFT JOIN LATERAL ({_JOINED_AT % "$2"}) b ON m.pos > $2
"""


async def memberships_then_and_now(
    connection: Connection, user_ids: Sequence[str], room_nids: Sequence[int], then: int, now: int
) -> list[ThenAndNow]:
    """Read the memberships of users in rooms at two positions."""
    rows = await connection.fetch(
        _THEN_AND_NOW + " WHERE m.user_id = ANY ($3::text[]) AND m.room_nid = ANY ($4::bigint[])",
        then,
        now,
        list(user_ids),
        list(room_nids),
    )
    return [ThenAndNow(*row) for row in rows]


async def members_then_or_now(
    connection: Connection, room_nids: Sequence[int], then: int, now: int
) -> set[UserID]:
    """Return who was joined to one of the rooms at either of two positions."""
    rows = await connection.fetch(
        f"""
        SELECT DISTINCT t.user_id
        FROM ({_THEN_AND_NOW} WHERE m.room_nid = ANY ($3::bigint[])) t
        WHERE t.was_joined OR t.is_joined
        """,
        then,
        now,
        list(room_nids),
    )
    return {UserID(row["user_id"]) for row in rows}


async def moved_members(
    connection: Connection, room_nids: Sequence[int], after: int
) -> set[UserID]:
    """Return whose membership of one of the rooms is of an event after a position."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT user_id FROM memberships
        WHERE room_nid = ANY ($1::bigint[]) AND pos > $2
          AND membership IN ('join', 'leave', 'ban', 'invite', 'knock')
        """,
        list(room_nids),
        after,
    )
    return {UserID(row["user_id"]) for row in rows}


async def encrypted_then_and_now(
    connection: Connection, room_nids: Sequence[int], then: int, now: int
) -> tuple[set[int], set[int]]:
    """Return which of the rooms were encrypted at one position, and at a later one."""
    rows = await connection.fetch(
        """
        SELECT w.room_nid, a.event_nid IS NOT NULL AS was_encrypted,
               b.event_nid IS NOT NULL AS is_encrypted
        FROM unnest($1::bigint[]) AS w (room_nid)
        JOIN state_keys k ON k.type = 'm.room.encryption' AND k.state_key = ''
        LEFT JOIN LATERAL (
            SELECT c.event_nid FROM state_changes c
            WHERE c.room_nid = w.room_nid AND c.key_nid = k.key_nid AND c.pos <= $2
            ORDER BY c.pos DESC LIMIT 1
        ) a ON true
        LEFT JOIN LATERAL (
            SELECT c.event_nid FROM state_changes c
            WHERE c.room_nid = w.room_nid AND c.key_nid = k.key_nid AND c.pos <= $3
            ORDER BY c.pos DESC LIMIT 1
        ) b ON true
        """,
        list(room_nids),
        then,
        now,
    )
    return (
        {row["room_nid"] for row in rows if row["was_encrypted"]},
        {row["room_nid"] for row in rows if row["is_encrypted"]},
    )
