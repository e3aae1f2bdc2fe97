"""Which servers are in which rooms."""

import sys
from collections.abc import Sequence

from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection
from homeserver.storage.outbound import SERVER_OF_MEMBER


async def remote_members_at(
    connection: Connection, own_name: str, room_nid: int, position: int
) -> list[UserID]:
    """Return the users of other servers who were joined to a room after a position."""
    rows = await connection.fetch(
        f"""
        SELECT m.user_id FROM memberships m
        WHERE m.room_nid = $1 AND m.membership = 'join' AND m.pos <= $2
          AND {SERVER_OF_MEMBER} <> $3
        UNION ALL
        SELECT m.user_id FROM memberships m
        JOIN state_keys k ON k.type = 'm.room.member' AND k.state_key = m.user_id
        CROSS JOIN LATERAL (
            SELECT s.event_nid FROM state_changes s
            WHERE s.room_nid = $1 AND s.key_nid = k.key_nid AND s.pos <= $2
            ORDER BY s.pos DESC LIMIT 1
        ) c
        JOIN events e ON e.event_nid = c.event_nid
        WHERE m.room_nid = $1 AND m.pos > $2 AND {SERVER_OF_MEMBER} <> $3
          AND {MEMBERSHIP} = 'join'
        """,
        room_nid,
        position,
        own_name,
    )
    return [UserID(row["user_id"]) for row in rows]


async def servers_told(
    connection: Connection, room_nid: int, position: int = sys.maxsize
) -> list[ServerName]:
    """Return the servers that are said to be in a room whose members are not all known yet.

    Nobody at a position before the join of this server.
    """
    servers = await connection.fetchval(
        """
        SELECT p.servers_in_room FROM partial_joins p
        JOIN events j ON j.event_nid = p.join_nid AND j.pos <= $2
        WHERE p.room_nid = $1
        """,
        room_nid,
        position,
    )
    return [ServerName(each) for each in servers or ()]


async def servers_of_user(connection: Connection, own_name: str, user_id: str) -> set[ServerName]:
    """Return the other servers that share a room with a user, or are said to."""
    return (await servers_of_users(connection, own_name, [user_id])).get(UserID(user_id), set())


async def servers_of_users(
    connection: Connection, own_name: str, user_ids: Sequence[str]
) -> dict[UserID, set[ServerName]]:
    """Return the same of users, by user; who shares no room with others is absent."""
    rows = await connection.fetch(
        f"""
        SELECT o.user_id, {SERVER_OF_MEMBER} AS server
        FROM memberships o JOIN memberships m ON m.room_nid = o.room_nid
        WHERE o.user_id = ANY ($1::text[]) AND o.membership = 'join' AND m.membership = 'join'
          AND {SERVER_OF_MEMBER} <> $2
        UNION
        SELECT o.user_id, unnest(p.servers_in_room)
        FROM memberships o JOIN partial_joins p ON p.room_nid = o.room_nid
        WHERE o.user_id = ANY ($1::text[]) AND o.membership = 'join'
        """,
        list(user_ids),
        own_name,
    )
    servers: dict[UserID, set[ServerName]] = {}
    for row in rows:
        if row["server"] != own_name:
            servers.setdefault(row["user_id"], set()).add(row["server"])
    return servers


async def known_rooms(connection: Connection, room_ids: Sequence[str]) -> set[str]:
    """Return those of the rooms that this server knows."""
    rows = await connection.fetch(
        "SELECT room_id FROM rooms WHERE room_id = ANY ($1::text[])", list(room_ids)
    )
    return {row["room_id"] for row in rows}
