"""Notices to users on their way, and the rooms in which they get them."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.storage.database import Connection, Transaction


class DueNotice(NamedTuple):
    """A notice that a node has claimed; the content is JSON."""

    notice_nid: int
    user_id: UserID
    content: bytes


async def add(connection: Connection, user_ids: Sequence[str], content: bytes) -> list[UserID]:
    """Queue a notice for those of some users who have an active account; return these."""
    rows = await connection.fetch(
        """
        INSERT INTO due_server_notices (user_id, content)
        SELECT user_id, $2 FROM users
        WHERE user_id = ANY ($1::text[]) AND deactivated_ts IS NULL ORDER BY user_id
        RETURNING user_id
        """,
        list(user_ids),
        content,
    )
    return [UserID(row["user_id"]) for row in rows]


async def add_for_all(connection: Connection, except_user_id: str, content: bytes) -> int:
    """Queue a notice for all people with an active account; return how many there are."""
    count: int = await connection.fetchval(
        """
        WITH added AS (
            INSERT INTO due_server_notices (user_id, content)
            SELECT user_id, $2 FROM users
            WHERE deactivated_ts IS NULL AND NOT is_guest AND appservice_id IS NULL
              AND user_id <> $1
            ORDER BY user_id RETURNING 1
        )
        SELECT count(*) FROM added
        """,
        except_user_id,
        content,
    )
    return count


async def claim(connection: Connection, now_ms: int, until_ms: int, limit: int) -> list[DueNotice]:
    """Claim the oldest notices that nobody works on; of each user only the oldest one."""
    rows = await connection.fetch(
        """
        UPDATE due_server_notices SET claimed_until_ts = $2
        WHERE notice_nid IN (
            SELECT notice_nid FROM due_server_notices n
            WHERE claimed_until_ts <= $1 AND NOT EXISTS (
                SELECT FROM due_server_notices o
                WHERE o.user_id = n.user_id AND o.notice_nid < n.notice_nid
            )
            ORDER BY notice_nid LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING notice_nid, user_id, content
        """,
        now_ms,
        until_ms,
        limit,
    )
    return [DueNotice(*row) for row in rows]


async def delete(connection: Connection, notice_nid: int) -> None:
    """Forget a notice: it has been sent, or never can be."""
    await connection.execute("DELETE FROM due_server_notices WHERE notice_nid = $1", notice_nid)


async def lock_user(tx: Transaction, user_id: str) -> None:
    """Let no other node make a room for the user until the transaction ends."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('server_notices ' || $1, 0))", user_id
    )


async def room_of(connection: Connection, user_id: str) -> RoomID | None:
    """Return the room in which the user gets notices."""
    room_id = await connection.fetchval(
        "SELECT room_id FROM server_notice_rooms WHERE user_id = $1", user_id
    )
    return None if room_id is None else RoomID(room_id)


async def room_invited_to(connection: Connection, user_id: str, sender: str) -> RoomID | None:
    """Return the room to which a sender has invited the user: one that was not recorded."""
    room_id = await connection.fetchval(
        """
        SELECT r.room_id FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
        WHERE m.user_id = $1 AND m.sender = $2 AND m.membership = 'invite' LIMIT 1
        """,
        user_id,
        sender,
    )
    return None if room_id is None else RoomID(room_id)


async def set_room(tx: Transaction, user_id: str, room_id: str) -> None:
    """Record in which room the user gets notices."""
    await tx.execute(
        """
        INSERT INTO server_notice_rooms (user_id, room_id) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET room_id = excluded.room_id
        """,
        user_id,
        room_id,
    )


async def is_invited_for_notices(connection: Connection, user_id: str, room_id: str) -> bool:
    """Whether a room is the one for the user's notices and the user has not joined it yet."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM server_notice_rooms n
            JOIN rooms r ON r.room_id = n.room_id
            JOIN memberships m ON m.room_nid = r.room_nid AND m.user_id = n.user_id
            WHERE n.user_id = $1 AND n.room_id = $2 AND m.membership = 'invite'
        )
        """,
        user_id,
        room_id,
    )
    return found
