"""Who is in which room, as of the newest change."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.storage.database import Connection, Transaction


class MembershipRow(NamedTuple):
    """A user's present membership of one room, and the log position at which it began."""

    room_nid: int
    room_id: RoomID
    membership: str
    event_nid: int
    sender: UserID
    pos: int
    is_forgotten: bool
    stripped_state: bytes | None


async def memberships_of(connection: Connection, user_id: str) -> list[MembershipRow]:
    """Read all memberships of a user, left and forgotten rooms included."""
    rows = await connection.fetch(
        """
        SELECT m.room_nid, r.room_id, m.membership, m.event_nid, m.sender, m.pos,
               m.is_forgotten, m.stripped_state
        FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
        WHERE m.user_id = $1
        """,
        user_id,
    )
    return [MembershipRow(*row) for row in rows]


async def membership_of(connection: Connection, user_id: str, room_id: str) -> MembershipRow | None:
    """Read a user's membership of one room."""
    row = await connection.fetchrow(
        """
        SELECT m.room_nid, r.room_id, m.membership, m.event_nid, m.sender, m.pos,
               m.is_forgotten, m.stripped_state
        FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
        WHERE m.user_id = $1 AND r.room_id = $2
        """,
        user_id,
        room_id,
    )
    return MembershipRow(*row) if row else None


async def members_with(
    connection: Connection, room_nid: int, memberships: Sequence[str]
) -> list[UserID]:
    """List the users of a room who have one of the memberships."""
    rows = await connection.fetch(
        """
        SELECT user_id FROM memberships
        WHERE room_nid = $1 AND membership = ANY ($2::text[]) ORDER BY pos
        """,
        room_nid,
        list(memberships),
    )
    return [UserID(row["user_id"]) for row in rows]


async def forget(tx: Transaction, user_id: str, room_nid: int) -> None:
    """Hide a room that the user has left from the user."""
    await tx.execute(
        "UPDATE memberships SET is_forgotten = true WHERE user_id = $1 AND room_nid = $2",
        user_id,
        room_nid,
    )


class MembershipChange(NamedTuple):
    """A membership that began at a position."""

    pos: int
    user_id: UserID
    room_nid: int
    room_id: RoomID
    membership: str


async def membership_changes(
    connection: Connection, after: int, upto: int
) -> list[MembershipChange]:
    """Read the memberships that began in (after, upto], newest per user and room only."""
    rows = await connection.fetch(
        """
        SELECT m.pos, m.user_id, m.room_nid, r.room_id, m.membership
        FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
        WHERE m.pos > $1 AND m.pos <= $2 ORDER BY m.pos
        """,
        after,
        upto,
    )
    return [MembershipChange(*row) for row in rows]
