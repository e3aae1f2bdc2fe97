"""Rooms that came here by a join through another server, whole or with their members omitted."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.storage import log
from homeserver.storage.database import Connection, Transaction


async def ensure_room(
    connection: Connection, room_nid: int, room_id: str, room_version: str
) -> int:
    """Make the row of a room of which no state is stored yet; return the room's number.

    A room that was known only by an invite takes the room version, which that may have got wrong.
    """
    nid: int | None = await connection.fetchval(
        """
        INSERT INTO rooms (room_nid, room_id, room_version, version, depth, extremities, state_nid)
        VALUES ($1, $2, $3, 0, 0, '{}', 0)
        ON CONFLICT (room_id) DO UPDATE SET room_version = excluded.room_version
        WHERE rooms.state_nid = 0
        RETURNING room_nid
        """,
        room_nid,
        room_id,
        room_version,
    )
    if nid is None:
        nid = await connection.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", room_id)
    assert nid is not None
    return nid


async def room_version(connection: Connection, room_id: RoomID) -> str | None:
    """Return the version of a room of which anything is known, if only an invite."""
    version: str | None = await connection.fetchval(
        "SELECT room_version FROM rooms WHERE room_id = $1", room_id
    )
    return version


async def joined_members(
    connection: Connection, room_nids: Sequence[int]
) -> list[tuple[UserID, int, int]]:
    """Return the joined users of rooms, with the numbers of the room and of the join."""
    rows = await connection.fetch(
        """
        SELECT user_id, room_nid, event_nid FROM memberships
        WHERE room_nid = ANY ($1::bigint[]) AND membership = 'join'
        """,
        room_nids,
    )
    return [(UserID(row["user_id"]), row["room_nid"], row["event_nid"]) for row in rows]


class PartialJoin(NamedTuple):
    """A room of which most members are not known yet, and the join that brought it here."""

    room_nid: int
    room_id: RoomID
    room_version: str
    join_nid: int
    join_event_id: EventID
    state_nid: int
    servers_in_room: Sequence[ServerName]
    # By the clock of the node that has joined.
    joined_ts: int


class Arrival(NamedTuple):
    """The join of a room that came here by it; `servers_in_room` None: with all its members."""

    room_nid: int
    join_nid: int
    state_nid: int
    servers_in_room: Sequence[ServerName] | None


async def note_arrival(tx: Transaction, arrival: Arrival) -> None:
    """Note whether a room's state is incomplete, in the transaction that stores the join."""
    if arrival.servers_in_room is None:
        await end_partial(tx, arrival.room_nid)
        return
    await tx.execute(
        """
        WITH marked AS (UPDATE rooms SET is_partial_state = true WHERE room_nid = $1)
        INSERT INTO partial_joins (room_nid, join_nid, state_nid, servers_in_room)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (room_nid) DO UPDATE
        SET join_nid = excluded.join_nid, state_nid = excluded.state_nid,
            servers_in_room = excluded.servers_in_room
        """,
        arrival.room_nid,
        arrival.join_nid,
        arrival.state_nid,
        list(arrival.servers_in_room),
    )


async def end_partial(tx: Transaction, room_nid: int) -> None:
    """Note that a room's state is complete."""
    await tx.execute(
        """
        WITH ended AS (DELETE FROM partial_joins WHERE room_nid = $1)
        UPDATE rooms SET is_partial_state = false WHERE room_nid = $1 AND is_partial_state
        """,
        room_nid,
    )


async def partial_joins(connection: Connection) -> list[PartialJoin]:
    """List the rooms whose states are incomplete and awaited, those that came first first."""
    rows = await connection.fetch(
        """
        SELECT p.room_nid, r.room_id, r.room_version, p.join_nid, e.event_id, p.state_nid,
               p.servers_in_room, e.origin_server_ts
        FROM partial_joins p
        JOIN rooms r ON r.room_nid = p.room_nid AND r.is_partial_state
        JOIN events e ON e.event_nid = p.join_nid
        WHERE p.state_nid <> 0
        ORDER BY p.join_nid
        """
    )
    return [PartialJoin(*row) for row in rows]


class CompletedMember(NamedTuple):
    """A state event that was omitted, by its key and number; a member event's membership."""

    key_nid: int
    event_nid: int
    user_id: str | None
    membership: str | None
    sender: str


async def complete(
    tx: Transaction,
    join: PartialJoin,
    entries: Sequence[CompletedMember],
    *,
    server_name: ServerName,
    kind: str,
) -> int | None:
    """Put omitted entries into the state from the join on, where nothing else has come since.

    Every user of this server whom the room concerns gets a change of `kind` in the log; returns
    the position of the last. None: another node was first, or the room was joined again.
    """
    if not await is_open(tx, join):
        return None
    await _complete_state(tx, join, entries)
    suffix = f":{server_name}"
    own = [each for each in entries if each.user_id is not None and each.user_id.endswith(suffix)]
    own_ids = {each.user_id for each in own}
    others = [each for each in entries if each.user_id not in own_ids]
    # The log is locked no longer than it must be, but before the memberships of own users, which
    # others write with the log in their hands.
    await _complete_memberships(tx, join, others)
    concerned = await _users_of(tx, join.room_nid, suffix)
    concerned |= {user_id for user_id in own_ids if user_id is not None}
    position = await log.append_room_changes(tx, sorted(concerned), kind, join.room_nid)
    await _complete_memberships(tx, join, own)
    await end_partial(tx, join.room_nid)
    # Whoever holds the head that was loaded before loses the next write, and loads it again.
    await tx.execute(
        "UPDATE rooms SET version = nextval('event_nids') WHERE room_nid = $1", join.room_nid
    )
    return position


async def abandon(
    tx: Transaction, join: PartialJoin, *, server_name: ServerName, kind: str
) -> int | None:
    """Stop waiting for the members of a room; they stay unknown until it is joined again.

    Tells of it as `complete` does, and returns the same.
    """
    if not await is_open(tx, join):
        return None
    # Through the servers that are in it the room can be joined again.
    await tx.execute("UPDATE partial_joins SET state_nid = 0 WHERE room_nid = $1", join.room_nid)
    concerned = await _users_of(tx, join.room_nid, f":{server_name}")
    return await log.append_room_changes(tx, sorted(concerned), kind, join.room_nid)


async def is_open(tx: Transaction, join: PartialJoin) -> bool:
    """Whether a room is still to be completed from a join; nobody else writes to it from now on."""
    await tx.execute("SELECT FROM rooms WHERE room_nid = $1 FOR UPDATE", join.room_nid)
    found = await tx.fetchval(
        "SELECT 1 FROM partial_joins WHERE room_nid = $1 AND join_nid = $2 AND state_nid <> 0",
        join.room_nid,
        join.join_nid,
    )
    return found is not None


async def _complete_state(
    tx: Transaction, join: PartialJoin, entries: Sequence[CompletedMember]
) -> None:
    key_nids = [each.key_nid for each in entries]
    event_nids = [each.event_nid for each in entries]
    await tx.execute(
        """
        UPDATE state_snapshots
        SET key_nids = key_nids || $2::bigint[], event_nids = event_nids || $3::bigint[]
        WHERE state_nid = $1
        """,
        join.state_nid,
        key_nids,
        event_nids,
    )
    await tx.execute(
        """
        WITH entry AS (SELECT * FROM unnest($3::bigint[], $4::bigint[]) AS u(key_nid, event_nid)),
        -- What came later for the key stays, a removal among it; what the join itself has removed
        -- was there in an earlier stay, and had only been omitted.
        untouched AS (
            SELECT n.* FROM entry n WHERE NOT EXISTS (
                SELECT FROM state_changes c JOIN events j ON j.event_nid = $2
                WHERE c.room_nid = $1 AND c.key_nid = n.key_nid
                  AND (c.pos > j.pos OR (c.pos = j.pos AND c.event_nid IS NOT NULL))
            )
        ), present AS (
            INSERT INTO room_state (room_nid, key_nid, event_nid)
            SELECT $1, key_nid, event_nid FROM untouched
            ON CONFLICT (room_nid, key_nid) DO UPDATE SET event_nid = excluded.event_nid
        )
        INSERT INTO state_changes (room_nid, key_nid, pos, event_nid)
        SELECT $1, n.key_nid, j.pos, n.event_nid FROM entry n JOIN events j ON j.event_nid = $2
        ON CONFLICT (room_nid, key_nid, pos) DO UPDATE SET event_nid = excluded.event_nid
        WHERE state_changes.event_nid IS NULL
        """,
        join.room_nid,
        join.join_nid,
        key_nids,
        event_nids,
    )


async def completed_rooms(connection: Connection) -> dict[int, int]:
    """Return the last position of the log at which each room was completed, in order."""
    rows = await connection.fetch(
        """
        SELECT room_nid, max(pos) AS pos FROM user_changes
        WHERE kind = 'room_completed' GROUP BY room_nid ORDER BY pos
        """
    )
    return {row["room_nid"]: row["pos"] for row in rows}


async def _users_of(tx: Transaction, room_nid: int, suffix: str) -> set[str]:
    rows = await tx.fetch(
        "SELECT user_id FROM memberships WHERE room_nid = $1 AND user_id LIKE '%' || $2",
        room_nid,
        suffix,
    )
    return {row["user_id"] for row in rows}


async def _complete_memberships(
    tx: Transaction, join: PartialJoin, entries: Sequence[CompletedMember]
) -> None:
    members = [each for each in entries if each.user_id is not None and each.membership is not None]
    await tx.execute(
        """
        INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
        SELECT u.user_id, $1, u.membership, u.event_nid, u.sender, j.pos
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[])
            AS u(user_id, membership, event_nid, sender)
        JOIN events j ON j.event_nid = $2
        ON CONFLICT (user_id, room_nid) DO UPDATE
        SET membership = excluded.membership, event_nid = excluded.event_nid,
            sender = excluded.sender, pos = excluded.pos
        WHERE memberships.pos < excluded.pos
           -- Members of an earlier stay have left by the join, as long as they were omitted.
           OR (memberships.event_nid = $2 AND memberships.membership = 'leave')
        """,
        join.room_nid,
        join.join_nid,
        [each.user_id for each in members],
        [each.membership for each in members],
        [each.event_nid for each in members],
        [each.sender for each in members],
    )
