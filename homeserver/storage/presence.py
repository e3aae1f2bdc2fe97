"""Who is online, as it was told last.

A transaction that changes presence locks its rows first, by `lock`, and takes positions last.
Spec: client-server-api/#presence
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


class PresenceState(NamedTuple):
    """The presence of a user as others are told; the fields of the profile are encoded JSON."""

    user_id: UserID
    presence: str
    currently_active: bool
    status_msg: str | None
    last_active_ts: int
    displayname: bytes | None
    avatar_url: bytes | None
    pos: int


class PresenceRow(NamedTuple):
    """What is stored of a user; all times are in ms. `pos` 0: nobody was ever told."""

    user_id: UserID
    is_local: bool
    presence: str
    currently_active: bool
    status_msg: str | None
    chosen: str | None
    chosen_ts: int
    last_active_ts: int
    updated_ts: int
    pos: int


class Seen(NamedTuple):
    """What a user is by the connected clients."""

    presence: str
    currently_active: bool


class LoggedPresence(NamedTuple):
    """A change, and the rooms that the user is in."""

    state: PresenceState
    room_nids: Sequence[int]


_STATE = """
    p.user_id, p.presence, p.currently_active, p.status_msg, p.last_active_ts,
    d.value AS displayname, a.value AS avatar_url, p.pos
"""
# Of users of other servers no profile is kept.
_FROM = """
    presence p
    LEFT JOIN profile_fields d ON d.user_id = p.user_id AND d.name = 'displayname'
    LEFT JOIN profile_fields a ON a.user_id = p.user_id AND a.name = 'avatar_url'
"""


async def state_of(connection: Connection, user_id: str) -> PresenceState | None:
    """Read the presence of one user."""
    row = await connection.fetchrow(f"SELECT {_STATE} FROM {_FROM} WHERE p.user_id = $1", user_id)
    return PresenceState(*row) if row else None


async def all_present(connection: Connection) -> list[PresenceState]:
    """Read the presence of everybody who is not offline."""
    rows = await connection.fetch(f"SELECT {_STATE} FROM {_FROM} WHERE p.presence <> 'offline'")
    return [PresenceState(*row) for row in rows]


async def present_in(
    connection: Connection, user_id: str, room_nids: Collection[int]
) -> list[PresenceState]:
    """Read the presence of a user and of the members of rooms who are not offline."""
    rows = await connection.fetch(
        f"""
        SELECT {_STATE} FROM {_FROM}
        WHERE p.presence <> 'offline' AND (p.user_id = $1 OR EXISTS (
            SELECT FROM memberships m
            WHERE m.user_id = p.user_id AND m.membership = 'join'
              AND m.room_nid = ANY ($2::bigint[])))
        ORDER BY p.pos
        """,
        user_id,
        list(room_nids),
    )
    return [PresenceState(*row) for row in rows]


async def new_in(
    connection: Connection, user_id: str, room_nids: Collection[int], after: int
) -> list[PresenceState]:
    """Read what a user and the members of rooms have changed after a position.

    And the presence of those who came later and are not offline.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_STATE} FROM {_FROM}
        WHERE (p.pos > $3 OR p.presence <> 'offline')
          AND (p.user_id = $1 AND p.pos > $3 OR EXISTS (
            SELECT FROM memberships m
            WHERE m.user_id = p.user_id AND m.membership = 'join'
              AND m.room_nid = ANY ($2::bigint[])
              AND (p.pos > $3 OR m.pos > $3)))
        ORDER BY p.pos
        """,
        user_id,
        list(room_nids),
        after,
    )
    return [PresenceState(*row) for row in rows]


async def changes_after(connection: Connection, after: int, upto: int) -> list[LoggedPresence]:
    """Read the changes at positions in (after, upto], in order; of a user the newest only."""
    rows = await connection.fetch(
        f"""
        SELECT {_STATE}, ARRAY (SELECT m.room_nid FROM memberships m
                                WHERE m.user_id = p.user_id AND m.membership = 'join') AS room_nids
        FROM {_FROM} WHERE p.pos > $1 AND p.pos <= $2 ORDER BY p.pos
        """,
        after,
        upto,
    )
    return [LoggedPresence(PresenceState(*list(row)[:-1]), row["room_nids"]) for row in rows]


async def share_room(connection: Connection, user_id: str, other: str) -> bool:
    """Say whether two users are joined to one room."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM memberships a JOIN memberships b ON b.room_nid = a.room_nid
            WHERE a.user_id = $1 AND a.membership = 'join'
              AND b.user_id = $2 AND b.membership = 'join'
        )
        """,
        user_id,
        other,
    )
    return found


async def in_any_room(connection: Connection, user_ids: Collection[str]) -> set[str]:
    """Return those of some users who are joined to a room that this server knows."""
    rows = await connection.fetch(
        """
        SELECT w.user_id FROM unnest($1::text[]) AS w (user_id)
        WHERE EXISTS (SELECT FROM memberships m
                      WHERE m.user_id = w.user_id AND m.membership = 'join')
        """,
        list(user_ids),
    )
    return {row["user_id"] for row in rows}


async def lock(
    tx: Transaction, user_ids: Iterable[str], *, is_local: bool
) -> dict[str, PresenceRow]:
    """Read the rows of users, made where they are missing, and keep them until the end."""
    # In one order everywhere, so that two nodes never wait for each other.
    ordered = sorted(user_ids)
    await tx.execute(
        """
        INSERT INTO presence (user_id, is_local, presence, currently_active, chosen_ts,
                              last_active_ts, updated_ts, pos)
        SELECT user_id, $2, 'offline', false, 0, 0, 0, 0
        FROM unnest($1::text[]) AS w (user_id) ON CONFLICT (user_id) DO NOTHING
        """,
        ordered,
        is_local,
    )
    rows = await tx.fetch(
        """
        SELECT user_id, is_local, presence, currently_active, status_msg, chosen, chosen_ts,
               last_active_ts, updated_ts, pos
        FROM presence WHERE user_id = ANY ($1::text[]) ORDER BY user_id FOR NO KEY UPDATE
        """,
        ordered,
    )
    return {row["user_id"]: PresenceRow(*row) for row in rows}


async def write(tx: Transaction, rows: Sequence[PresenceRow]) -> None:
    """Replace rows that the transaction has locked."""
    columns = list(zip(*rows, strict=True))
    await tx.execute(
        """
        UPDATE presence p
        SET presence = w.presence, currently_active = w.currently_active,
            status_msg = w.status_msg, chosen = w.chosen, chosen_ts = w.chosen_ts,
            last_active_ts = w.last_active_ts, updated_ts = w.updated_ts, pos = w.pos
        FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::text[], $6::bigint[],
                    $7::bigint[], $8::bigint[], $9::bigint[])
             AS w (user_id, presence, currently_active, status_msg, chosen, chosen_ts,
                   last_active_ts, updated_ts, pos)
        WHERE p.user_id = w.user_id
        """,
        *(list(column) for place, column in enumerate(columns) if place != 1),
    )


async def stale_remote(connection: Connection, before_ts: int, limit: int) -> list[str]:
    """List users of other servers who were last heard of before a time and are not offline."""
    rows = await connection.fetch(
        """
        SELECT user_id FROM presence
        WHERE presence <> 'offline' AND updated_ts < $1 AND NOT is_local
        ORDER BY updated_ts LIMIT $2
        """,
        before_ts,
        limit,
    )
    return [row["user_id"] for row in rows]
