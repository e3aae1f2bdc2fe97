"""What /sync reads of many rooms at once."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection


async def state_nids_of_rooms(
    connection: Connection, places: Mapping[int, int], *, with_members: bool
) -> dict[int, list[int]]:
    """Return the state events of rooms as it was after a position of each.

    `places` maps room numbers to positions. Without members, member events are left out.
    """
    rows = await connection.fetch(
        """
        WITH wanted AS (
            SELECT w.room_nid, w.pos FROM unnest($1::bigint[], $2::bigint[]) AS w(room_nid, pos)
        ), later AS MATERIALIZED (
            SELECT DISTINCT c.room_nid, c.key_nid, w.pos
            FROM wanted w JOIN state_changes c ON c.room_nid = w.room_nid AND c.pos > w.pos
        ), held AS (
            SELECT s.room_nid, s.key_nid, s.event_nid
            FROM wanted w JOIN room_state s ON s.room_nid = w.room_nid
            WHERE (s.room_nid, s.key_nid) NOT IN (SELECT l.room_nid, l.key_nid FROM later l)
            UNION ALL
            SELECT l.room_nid, l.key_nid, p.event_nid FROM later l CROSS JOIN LATERAL (
                SELECT c.event_nid FROM state_changes c
                WHERE c.room_nid = l.room_nid AND c.key_nid = l.key_nid AND c.pos <= l.pos
                ORDER BY c.pos DESC LIMIT 1
            ) p WHERE p.event_nid IS NOT NULL
        )
        SELECT h.room_nid, array_agg(h.event_nid) AS nids
        FROM held h
        WHERE $3 OR NOT EXISTS (
            SELECT 1 FROM state_keys k
            WHERE k.key_nid = h.key_nid AND k.type = 'm.room.member'
        )
        GROUP BY h.room_nid
        """,
        list(places.keys()),
        list(places.values()),
        with_members,
    )
    return {row["room_nid"]: row["nids"] for row in rows}


async def member_nids_of_rooms(
    connection: Connection, wanted: Sequence[tuple[int, str, int]]
) -> list[int]:
    """Return the member events for (room number, user, position) as it was after the position."""
    rows = await connection.fetch(
        """
        SELECT c.event_nid
        FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS w(room_nid, user_id, pos)
        JOIN state_keys k ON k.type = 'm.room.member' AND k.state_key = w.user_id
        CROSS JOIN LATERAL (
            SELECT s.event_nid FROM state_changes s
            WHERE s.room_nid = w.room_nid AND s.key_nid = k.key_nid AND s.pos <= w.pos
            ORDER BY s.pos DESC LIMIT 1
        ) c
        WHERE c.event_nid IS NOT NULL
        """,
        [each[0] for each in wanted],
        [each[1] for each in wanted],
        [each[2] for each in wanted],
    )
    return [row["event_nid"] for row in rows]


class PlacedState(NamedTuple):
    """What stands at a key of a room's state; event_nid None: nothing any more."""

    room_nid: int
    type: str
    state_key: str
    event_nid: int | None


async def state_from_elsewhere(
    connection: Connection,
    spans: Mapping[int, tuple[int, int]],
    *,
    with_members: bool,
    user_ids: Sequence[str] = (),
) -> list[PlacedState]:
    """Return the changes of rooms' states in (after, upto] that no event at the position makes.

    Joins bring a whole state with them, and state resolution goes back to other events. Of members
    those of `user_ids`, if not all of them. `spans` maps room numbers to positions.
    """
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (c.room_nid, c.key_nid) c.room_nid, k.type, k.state_key, c.event_nid
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w(room_nid, after, upto)
        JOIN state_changes c
            ON c.room_nid = w.room_nid AND c.pos > w.after AND c.pos <= w.upto
        JOIN state_keys k ON k.key_nid = c.key_nid
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE e.pos IS DISTINCT FROM c.pos
          AND ($4 OR k.type <> 'm.room.member' OR k.state_key = ANY ($5::text[]))
        ORDER BY c.room_nid, c.key_nid, c.pos DESC
        """,
        list(spans),
        [after for after, _ in spans.values()],
        [upto for _, upto in spans.values()],
        with_members,
        list(user_ids),
    )
    return [PlacedState(*row) for row in rows]


async def cited_sender_members(
    connection: Connection, event_nids: Sequence[int]
) -> list[tuple[str, int]]:
    """Return (user, member event) for the senders of events, as the auth events of these say."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (e.room_nid, e.sender) e.sender, m.event_nid
        FROM events e
        CROSS JOIN LATERAL unnest(e.auth_nids) AS a(event_nid)
        JOIN events m ON m.event_nid = a.event_nid
        WHERE e.event_nid = ANY ($1::bigint[])
          AND m.type = 'm.room.member' AND m.state_key = e.sender
        ORDER BY e.room_nid, e.sender, m.depth DESC
        """,
        list(event_nids),
    )
    return [(row["sender"], row["event_nid"]) for row in rows]


async def member_counts(
    connection: Connection, room_nids: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Return how many are (joined, invited) in each room."""
    rows = await connection.fetch(
        """
        SELECT m.room_nid, count(*) FILTER (WHERE m.membership = 'join') AS joined,
               count(*) FILTER (WHERE m.membership = 'invite') AS invited
        FROM memberships m
        WHERE m.room_nid = ANY ($1::bigint[]) AND m.membership IN ('join', 'invite')
        GROUP BY m.room_nid
        """,
        list(room_nids),
    )
    return {row["room_nid"]: (row["joined"], row["invited"]) for row in rows}


async def heroes(
    connection: Connection, room_nids: Sequence[int], user_id: str, limit: int
) -> dict[int, list[UserID]]:
    """Return the first members of each room but the user: joined and invited, else those gone."""
    rows = await connection.fetch(
        """
        SELECT w.room_nid, h.user_id
        FROM unnest($1::bigint[]) AS w(room_nid)
        CROSS JOIN LATERAL (
            SELECT x.user_id, x.pos FROM (
                (SELECT m.user_id, m.pos, 0 AS rank FROM memberships m
                 WHERE m.room_nid = w.room_nid AND m.membership = 'join' AND m.user_id <> $2
                 ORDER BY m.pos LIMIT $3)
                UNION ALL
                (SELECT m.user_id, m.pos, 0 FROM memberships m
                 WHERE m.room_nid = w.room_nid AND m.membership = 'invite' AND m.user_id <> $2
                 ORDER BY m.pos LIMIT $3)
            ) x ORDER BY x.pos LIMIT $3
        ) h
        """,
        list(room_nids),
        user_id,
        limit,
    )
    found: dict[int, list[UserID]] = {}
    for row in rows:
        found.setdefault(row["room_nid"], []).append(UserID(row["user_id"]))
    alone = [room_nid for room_nid in room_nids if room_nid not in found]
    if alone:
        found.update(await _former_members(connection, alone, user_id, limit))
    return found


async def _former_members(
    connection: Connection, room_nids: Sequence[int], user_id: str, limit: int
) -> dict[int, list[UserID]]:
    rows = await connection.fetch(
        """
        SELECT w.room_nid, h.user_id
        FROM unnest($1::bigint[]) AS w(room_nid)
        CROSS JOIN LATERAL (
            SELECT m.user_id, m.pos FROM memberships m
            WHERE m.room_nid = w.room_nid AND m.membership IN ('leave', 'ban') AND m.user_id <> $2
            ORDER BY m.pos LIMIT $3
        ) h
        """,
        list(room_nids),
        user_id,
        limit,
    )
    found: dict[int, list[UserID]] = {}
    for row in rows:
        found.setdefault(row["room_nid"], []).append(UserID(row["user_id"]))
    return found


async def active_rooms(
    connection: Connection, room_nids: Sequence[int], after: int, upto: int
) -> list[int]:
    """Return those of the rooms that have live events in (after, upto]."""
    rows = await connection.fetch(
        """
        SELECT w.room_nid FROM unnest($1::bigint[]) AS w(room_nid)
        WHERE EXISTS (
            SELECT 1 FROM events e
            WHERE e.room_nid = w.room_nid AND e.pos IS NOT NULL AND e.pos > $2
              AND (e.pos, e.sub) <= ($3, 0)
        )
        """,
        list(room_nids),
        after,
        upto,
    )
    return [row["room_nid"] for row in rows]


async def changed_state_nids(
    connection: Connection, room_nid: int, after: int, upto: int
) -> list[tuple[int, int, int | None]]:
    """Return (key number, position, event number) of a room's state changes in (after, upto]."""
    rows = await connection.fetch(
        """
        SELECT key_nid, pos, event_nid FROM state_changes
        WHERE room_nid = $1 AND pos > $2 AND pos <= $3 ORDER BY pos
        """,
        room_nid,
        after,
        upto,
    )
    return [(row["key_nid"], row["pos"], row["event_nid"]) for row in rows]


async def named_rooms(connection: Connection, room_nids: Sequence[int]) -> dict[int, list[bytes]]:
    """Return the cores of the name and canonical alias events of rooms that have them."""
    rows = await connection.fetch(
        """
        SELECT s.room_nid, e.core
        FROM state_keys k
        JOIN room_state s ON s.key_nid = k.key_nid AND s.room_nid = ANY ($1::bigint[])
        JOIN events e ON e.event_nid = s.event_nid
        WHERE k.state_key = '' AND k.type IN ('m.room.name', 'm.room.canonical_alias')
        """,
        list(room_nids),
    )
    found: dict[int, list[bytes]] = {}
    for row in rows:
        found.setdefault(row["room_nid"], []).append(row["core"])
    return found


async def state_nids_of_types(
    connection: Connection, room_nid: int, types: Sequence[str], pos: int
) -> list[int]:
    """Return the events with an empty state key and one of the types, after a position."""
    rows = await connection.fetch(
        """
        SELECT c.event_nid
        FROM state_keys k
        CROSS JOIN LATERAL (
            SELECT s.event_nid FROM state_changes s
            WHERE s.room_nid = $1 AND s.key_nid = k.key_nid AND s.pos <= $3
            ORDER BY s.pos DESC LIMIT 1
        ) c
        WHERE k.state_key = '' AND k.type = ANY ($2::text[]) AND c.event_nid IS NOT NULL
        """,
        room_nid,
        list(types),
        pos,
    )
    return [row["event_nid"] for row in rows]
