"""What summaries of rooms are made from: some of the current state, and who is joined."""

from collections.abc import Collection
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.storage.database import Connection


class KnownRoomRow(NamedTuple):
    """A room that this server has something about."""

    room_nid: int
    room_id: RoomID
    room_version: str
    joined: int
    # Of the joined, users of this server.
    joined_here: int
    # Most of the joined are not known.
    is_partial_state: bool


class StateContentRow(NamedTuple):
    """A state event with an empty state key; `core` is JSON that has the content."""

    room_nid: int
    type: str
    core: bytes


class SpaceChildRow(NamedTuple):
    """A `m.space.child` event of the current state; `core` is JSON that has the content."""

    room_nid: int
    child: str
    sender: UserID
    origin_server_ts: int
    core: bytes


async def known_rooms(
    connection: Connection, room_ids: Collection[str], server_name: str
) -> list[KnownRoomRow]:
    """Read those of some rooms that are known, and count their joined members."""
    rows = await connection.fetch(
        """
        SELECT r.room_nid, r.room_id, r.room_version, m.joined, m.joined_here, r.is_partial_state
        FROM rooms r
        CROSS JOIN LATERAL (
            SELECT count(*) AS joined, count(*) FILTER (
                WHERE right(m.user_id, length($2) + 1) = ':' || $2
            ) AS joined_here
            FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join'
        ) m
        WHERE r.room_id = ANY ($1::text[])
        """,
        list(room_ids),
        server_name,
    )
    return [KnownRoomRow(*row) for row in rows]


async def state_contents(
    connection: Connection, room_nids: Collection[int], types: Collection[str]
) -> list[StateContentRow]:
    """Read the current state events of some types that have an empty state key."""
    rows = await connection.fetch(
        """
        SELECT s.room_nid, k.type, e.core
        FROM state_keys k
        CROSS JOIN unnest($1::bigint[]) AS wanted (room_nid)
        JOIN room_state s ON s.room_nid = wanted.room_nid AND s.key_nid = k.key_nid
        JOIN events e ON e.event_nid = s.event_nid
        WHERE k.state_key = '' AND k.type = ANY ($2::text[])
        """,
        list(room_nids),
        list(types),
    )
    return [StateContentRow(*row) for row in rows]


async def space_children(connection: Connection, room_nids: Collection[int]) -> list[SpaceChildRow]:
    """Read what spaces say about their children. Costs the whole state of each: ask for spaces."""
    rows = await connection.fetch(
        """
        SELECT s.room_nid, e.state_key, e.sender, e.origin_server_ts, e.core
        FROM room_state s JOIN events e ON e.event_nid = s.event_nid
        WHERE s.room_nid = ANY ($1::bigint[]) AND e.type = 'm.space.child'
        """,
        list(room_nids),
    )
    return [SpaceChildRow(*row) for row in rows]


async def rooms_of_server(
    connection: Connection, room_ids: Collection[str], server_name: str
) -> frozenset[RoomID]:
    """Return those of some rooms in which a user of a server is joined or invited."""
    rows = await connection.fetch(
        """
        SELECT r.room_id FROM rooms r
        WHERE r.room_id = ANY ($1::text[]) AND EXISTS (
            SELECT 1 FROM memberships m
            WHERE m.room_nid = r.room_nid AND m.membership IN ('join', 'invite')
              AND right(m.user_id, length($2) + 1) = ':' || $2
        )
        """,
        list(room_ids),
        server_name,
    )
    return frozenset(RoomID(row["room_id"]) for row in rows)
