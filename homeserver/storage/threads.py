"""The threads of a room."""

from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection


class ThreadPlace(NamedTuple):
    """A thread by the position of its newest message, and its root."""

    latest_pos: int
    root_nid: int


async def threads_before(
    connection: Connection,
    room_nid: int,
    before: ThreadPlace,
    limit: int,
    *,
    participant: UserID | None = None,
) -> list[ThreadPlace]:
    """Read the `limit` threads before a place, those with the newest messages first.

    Only those in which `participant`, if there is one, has written a message or the root.
    """
    rows = await connection.fetch(
        """
        SELECT h.latest_pos, h.thread_nid FROM threads h
        JOIN events p ON p.event_nid = h.thread_nid
        WHERE h.room_nid = $1 AND (h.latest_pos, h.thread_nid) < ($2, $3) AND h.replies > 0
          AND ($4::text IS NULL OR p.sender = $4 OR EXISTS (
              SELECT FROM relations r
              WHERE r.parent_id = p.event_id AND r.sender = $4 AND r.rel_type = 'm.thread'
                AND r.room_nid = $1
          ))
        ORDER BY h.latest_pos DESC, h.thread_nid DESC LIMIT $5
        """,
        room_nid,
        *before,
        participant,
        limit,
    )
    return [ThreadPlace(*row) for row in rows]
