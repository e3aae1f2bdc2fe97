"""The log's head, and the changes that rare transactions append to it."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection, Transaction


async def head(connection: Connection) -> int:
    """Return the position of the newest durable change."""
    pos: int = await connection.fetchval("SELECT pos FROM log_head")
    return pos


async def take_positions(tx: Transaction, count: int) -> int:
    """Append `count` positions and return the last one before them.

    The log is locked from here to the commit: take them as the last act of a transaction.
    """
    pos: int = await tx.fetchval("UPDATE log_head SET pos = pos + $1 RETURNING pos - $1", count)
    return pos


class UserChange(NamedTuple):
    """A rare change of one user's account; `kind` is one of the constants of streams.entries."""

    pos: int
    user_id: str
    kind: str
    room_nid: int | None
    device_id: str | None


async def append_user_change(
    tx: Transaction,
    user_id: str,
    kind: str,
    *,
    room_nid: int | None = None,
    device_id: str | None = None,
) -> int:
    """Append one change and return its position; the last act of a transaction."""
    pos = await take_positions(tx, 1) + 1
    await tx.execute(
        """
        INSERT INTO user_changes (pos, user_id, kind, room_nid, device_id)
        VALUES ($1, $2, $3, $4, $5)
        """,
        pos,
        user_id,
        kind,
        room_nid,
        device_id,
    )
    return pos


async def append_user_changes(
    tx: Transaction, user_id: str, changes: Sequence[tuple[str, str | None]]
) -> int:
    """Append changes of one user, as (kind, device ID), at once; the last act of a transaction.

    Returns the last position.
    """
    base_pos = await take_positions(tx, len(changes))
    await tx.execute(
        """
        INSERT INTO user_changes (pos, user_id, kind, device_id)
        SELECT $1 + ord, $2, kind, device_id
        FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS c (kind, device_id, ord)
        """,
        base_pos,
        user_id,
        [kind for kind, _ in changes],
        [device_id for _, device_id in changes],
    )
    return base_pos + len(changes)


async def append_room_changes(
    tx: Transaction, user_ids: Sequence[str], kind: str, room_nid: int
) -> int:
    """Append the same change of a room for each of some users; the log is locked from here on.

    Returns the last position.
    """
    base_pos = await take_positions(tx, len(user_ids))
    await tx.execute(
        """
        INSERT INTO user_changes (pos, user_id, kind, room_nid)
        SELECT $1 + ord, user_id, $2, $3
        FROM unnest($4::text[]) WITH ORDINALITY AS c (user_id, ord)
        """,
        base_pos,
        kind,
        room_nid,
        list(user_ids),
    )
    return base_pos + len(user_ids)


async def user_changes_after(connection: Connection, after: int, upto: int) -> list[UserChange]:
    """Read the changes at positions in (after, upto], in order.

    Those of account data and push rules are where these are kept.
    """
    rows = await connection.fetch(
        """
        SELECT pos, user_id, kind, room_nid, device_id FROM user_changes
        WHERE pos > $1 AND pos <= $2
        UNION ALL
        SELECT pos, user_id,
               CASE WHEN room_nid = 0 AND type = 'm.ignored_user_list'
                    THEN 'ignored_users_changed' ELSE 'account_data_changed' END,
               nullif(room_nid, 0), NULL
        FROM account_data WHERE pos > $1 AND pos <= $2
        UNION ALL
        SELECT pos, user_id, 'push_rules_changed', NULL, NULL
        FROM push_rules WHERE pos > $1 AND pos <= $2
        ORDER BY pos
        """,
        after,
        upto,
    )
    return [UserChange(*row) for row in rows]


class LoggedStateChange(NamedTuple):
    """A change of some room's current state; event_id None: the key was removed."""

    pos: int
    room_nid: int
    key_nid: int
    type: str
    state_key: str
    event_nid: int | None
    event_id: str | None
    membership: str | None


async def state_changes_after(
    connection: Connection, room_nids: list[int], after: int, upto: int
) -> list[LoggedStateChange]:
    """Read the state changes of rooms at positions in (after, upto], in order."""
    rows = await connection.fetch(
        f"""
        SELECT c.pos, c.room_nid, c.key_nid, k.type, k.state_key, c.event_nid, e.event_id,
               CASE WHEN e.type = 'm.room.member' THEN {MEMBERSHIP} END
        FROM state_changes c
        JOIN state_keys k ON k.key_nid = c.key_nid
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE c.room_nid = ANY ($1::bigint[]) AND c.pos > $2 AND c.pos <= $3 ORDER BY c.pos
        """,
        room_nids,
        after,
        upto,
    )
    return [LoggedStateChange(*row) for row in rows]
