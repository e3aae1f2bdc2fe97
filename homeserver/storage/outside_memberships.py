"""Memberships of rooms that this server is not in: invites and knocks, and how they ended."""

from homeserver.storage.database import Transaction

# No event is stored for them: what is known of the room is in `stripped_state`.
NO_EVENT = 0


async def set_membership(
    tx: Transaction,
    user_id: str,
    room_nid: int,
    *,
    membership: str,
    sender: str,
    position: int,
    stripped_state: bytes | None,
) -> None:
    """Write a membership that began at a position, unless the user is in the room.

    None keeps the stripped state that is there. The caller holds the log, as whoever writes
    memberships does.
    """
    await tx.execute(
        """
        INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos,
                                 stripped_state)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id, room_nid) DO UPDATE
        SET membership = excluded.membership, event_nid = excluded.event_nid,
            sender = excluded.sender, pos = excluded.pos, is_forgotten = false,
            stripped_state = coalesce(excluded.stripped_state, memberships.stripped_state)
        WHERE memberships.membership <> 'join'
        """,
        user_id,
        room_nid,
        membership,
        NO_EVENT,
        sender,
        position,
        stripped_state,
    )
