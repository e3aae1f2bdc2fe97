"""The threads of a room."""

from collections.abc import Collection
from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection
from homeserver.storage.relations import Spans, multirange


class ThreadPlace(NamedTuple):
    """A thread by the position of its newest message, and its root."""

    latest_pos: int
    root_nid: int


class ThreadsWanted(NamedTuple):
    """Threads before a place, as far as they are at `visible` positions.

    `participant`: only those in which this user has written a message or the root.
    """

    room_nid: int
    before: ThreadPlace
    visible: Spans
    ignored: Collection[UserID]
    participant: UserID | None
    limit: int


async def threads(connection: Connection, wanted: ThreadsWanted) -> list[ThreadPlace]:
    """Return the first `limit` threads of a room, those with the newest messages first.

    Threads whose root is not visible, and those without visible messages, are left out; messages
    of ignored users count as invisible.
    """
    rows = await connection.fetch(
        """
        SELECT h.latest_pos, h.thread_nid FROM threads h
        JOIN events p ON p.event_nid = h.thread_nid AND p.pos <@ $4::text::int8multirange
        WHERE h.room_nid = $1 AND (h.latest_pos, h.thread_nid) < ($2, $3) AND h.replies > 0
          AND EXISTS (
              SELECT FROM relations r
              WHERE r.parent_id = p.event_id AND r.rel_type = 'm.thread' AND r.room_nid = $1
                AND r.pos <@ $4::text::int8multirange AND r.sender <> ALL ($5::text[])
          )
          AND ($6::text IS NULL OR p.sender = $6 OR EXISTS (
              SELECT FROM relations r
              WHERE r.parent_id = p.event_id AND r.sender = $6 AND r.rel_type = 'm.thread'
                AND r.room_nid = $1
          ))
        ORDER BY h.latest_pos DESC, h.thread_nid DESC LIMIT $7
        """,
        wanted.room_nid,
        *wanted.before,
        multirange(wanted.visible),
        list(wanted.ignored),
        wanted.participant,
        wanted.limit,
    )
    return [ThreadPlace(*row) for row in rows]
