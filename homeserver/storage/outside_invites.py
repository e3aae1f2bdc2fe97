"""Open invites into rooms that this server is not in, as far as somebody is told of them.

The memberships themselves, with the stripped state, are in `outside_memberships`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.storage.database import Connection, Transaction


class OutsideInvite(NamedTuple):
    """An invite at a position of the log; member, name and alias are of the stripped state."""

    user_id: UserID
    pos: int
    room_nid: int
    room_id: RoomID
    room_version: str
    event_id: EventID
    sender: UserID
    origin_server_ts: int
    core: bytes
    member_core: bytes | None
    name_core: bytes | None
    alias_core: bytes | None


class InviteWrite(NamedTuple):
    """What is known of an invite; cores are JSON objects that have `content`."""

    event_id: str
    sender: str
    origin_server_ts: int
    core: bytes
    member_core: bytes | None
    name_core: bytes | None
    alias_core: bytes | None


# Whether an invite `o` is open. Once somebody else of this server has joined, the room has it too.
IS_OPEN: Final = """
    EXISTS (
        SELECT FROM memberships m
        WHERE m.user_id = o.user_id AND m.room_nid = o.room_nid AND m.membership = 'invite'
          AND (m.event_nid = 0 OR EXISTS (
              SELECT FROM events i WHERE i.event_nid = m.event_nid AND i.event_id = o.event_id
          ))
    )
"""
_COLUMNS: Final = """
    o.user_id, o.pos, o.room_nid, r.room_id, r.room_version, o.event_id, o.sender,
    o.origin_server_ts, o.core, o.member_core, o.name_core, o.alias_core
"""


async def put(
    tx: Transaction, user_id: str, room_nid: int, position: int, invite: InviteWrite
) -> None:
    """Keep an invite, if the user's membership of the room is the one that began at a position.

    One that is sent again, because the first answer was lost, keeps the position of the first.
    """
    await tx.execute(
        """
        INSERT INTO outside_invites (user_id, pos, room_nid, event_id, sender, origin_server_ts,
                                     core, member_core, name_core, alias_core)
        SELECT m.user_id, m.pos, m.room_nid, $4, $5, $6, $7, $8, $9, $10
        FROM memberships m
        WHERE m.user_id = $1 AND m.room_nid = $2 AND m.pos = $3 AND m.membership = 'invite'
        ON CONFLICT (user_id, room_nid) DO UPDATE
        SET pos = excluded.pos, event_id = excluded.event_id, sender = excluded.sender,
            origin_server_ts = excluded.origin_server_ts, core = excluded.core,
            member_core = excluded.member_core, name_core = excluded.name_core,
            alias_core = excluded.alias_core
        WHERE outside_invites.event_id <> excluded.event_id
        """,
        user_id,
        room_nid,
        position,
        *invite,
    )


async def at(
    connection: Connection, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], OutsideInvite]:
    """Return the open invites of users at positions of the log, by both."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}
        FROM unnest($1::text[], $2::bigint[]) AS w(user_id, pos)
        JOIN outside_invites o ON o.user_id = w.user_id AND o.pos = w.pos
        JOIN rooms r ON r.room_nid = o.room_nid
        WHERE {IS_OPEN}
        """,
        [user_id for user_id, _ in places],
        [pos for _, pos in places],
    )
    found = [OutsideInvite(*row) for row in rows]
    return {(invite.user_id, invite.pos): invite for invite in found}


async def of_user(connection: Connection, user_id: str, before: int) -> list[OutsideInvite]:
    """Return the open invites of a user from before a position, newest first.

    Without those that are in the room's timeline by now.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}
        FROM outside_invites o JOIN rooms r ON r.room_nid = o.room_nid
        WHERE o.user_id = $1 AND o.pos < $2 AND {IS_OPEN} AND NOT EXISTS (
            SELECT FROM events t WHERE t.event_id = o.event_id AND t.pos IS NOT NULL
        )
        ORDER BY o.pos DESC
        """,
        user_id,
        before,
    )
    return [OutsideInvite(*row) for row in rows]


async def is_known(connection: Connection, user_id: str, room_nid: int, event_id: str) -> bool:
    """Whether an event of a room was known before, as an invite of a user from outside."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM outside_invites WHERE user_id = $1 AND room_nid = $2 AND event_id = $3
        )
        """,
        user_id,
        room_nid,
        event_id,
    )
    return found
