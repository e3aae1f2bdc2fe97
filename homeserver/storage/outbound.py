"""What has still to be sent to other servers: who lacks what, read back from the log."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.storage.core_json import MEMBERSHIP
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.event_writes import PASSED_ON

# The server of the user `m`: the expression of the index memberships_server.
SERVER_OF_MEMBER: Final = "substr(m.user_id, strpos(m.user_id, ':') + 1)"
_DEVICE_KINDS: Final = ("device_changed", "device_keys_changed", "cross_signing_changed")


class Cursor(NamedTuple):
    """A server that lacks what comes after a position."""

    shard: int
    destination: ServerName
    pos: int


class Stay(NamedTuple):
    """A stretch (after, upto] of a room's events that are for a server."""

    room_nid: int
    after: int
    upto: int


class OutboundEvent(NamedTuple):
    """An event of this server."""

    pos: int
    event_nid: int


class ChangedDevices(NamedTuple):
    """The newest of a user's changes: of a device (None: of none), and whether of other keys."""

    pos: int
    user_id: UserID
    device_pos: int | None
    device_id: DeviceID | None
    is_cross_signing_new: bool


async def cursors_of(connection: Connection, shard: int) -> list[Cursor]:
    """Read who of a shard lacks something."""
    rows = await connection.fetch(
        "SELECT shard, destination, pos FROM outbound_cursors WHERE shard = $1", shard
    )
    return [Cursor(*row) for row in rows]


async def put_cursors(tx: Transaction, cursors: Sequence[Cursor]) -> None:
    """Record who lacks something."""
    await tx.execute(
        """
        INSERT INTO outbound_cursors (shard, destination, pos)
        SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[])
        ON CONFLICT (shard, destination) DO UPDATE SET pos = excluded.pos
        """,
        [each.shard for each in cursors],
        [each.destination for each in cursors],
        [each.pos for each in cursors],
    )


async def delete_cursors(tx: Transaction, shard: int, destinations: Sequence[ServerName]) -> None:
    """Forget servers that have got everything."""
    await tx.execute(
        "DELETE FROM outbound_cursors WHERE shard = $1 AND destination = ANY ($2::text[])",
        shard,
        list(destinations),
    )


async def concerned_between(
    connection: Connection, own_name: str, after: int, upto: int
) -> set[ServerName]:
    """Return the servers to which something between two positions may have to go.

    More than that, rather than less; and all for which messages to devices wait.
    """
    rows = await connection.fetch(
        f"""
        WITH concerned AS (
            SELECT DISTINCT e.room_nid FROM events e
            WHERE e.pos > $2 AND e.pos <= $3 AND e.sub = 0
              AND (e.sender LIKE '%:' || $1 OR (e.flags & $5) <> 0)
            UNION
            SELECT DISTINCT o.room_nid FROM user_changes c
            JOIN memberships o ON o.user_id = c.user_id AND o.membership = 'join'
            WHERE c.pos > $2 AND c.pos <= $3 AND c.kind = ANY ($4::text[])
              AND c.user_id LIKE '%:' || $1
        )
        SELECT DISTINCT {SERVER_OF_MEMBER} AS server
        FROM concerned r JOIN memberships m ON m.room_nid = r.room_nid
        WHERE m.membership = 'join' OR m.pos > $2
        UNION
        SELECT unnest(p.servers_in_room)
        FROM concerned r JOIN partial_joins p ON p.room_nid = r.room_nid
        UNION
        SELECT DISTINCT destination FROM outbound_to_device
        """,
        own_name,
        after,
        upto,
        list(_DEVICE_KINDS),
        PASSED_ON,
    )
    return {ServerName(row["server"]) for row in rows} - {ServerName(own_name)}


async def next_made_ts(connection: Connection, own_name: str, after: int) -> int | None:
    """Return when the first event of this server after a position was made, in ms.

    None: it is not among the next thousand.
    """
    made_ts: int | None = await connection.fetchval(
        """
        SELECT t.origin_server_ts FROM (
            SELECT e.pos, e.sender, e.origin_server_ts FROM events e
            WHERE e.pos > $2 AND e.sub = 0 ORDER BY e.pos LIMIT 1000
        ) t
        WHERE t.sender LIKE '%:' || $1 ORDER BY t.pos LIMIT 1
        """,
        own_name,
        after,
    )
    return made_ts


async def stays_of(
    connection: Connection, destination: ServerName, after: int, upto: int
) -> list[Stay]:
    """Return in which rooms, and from when to when, a server was between two positions.

    An event that takes the server out of a room is still for it. Of two stays none overlap.
    """
    rows = await connection.fetch(
        f"""
        SELECT m.room_nid, bool_or(m.membership = 'join' AND m.pos <= $2) AS is_whole
        FROM memberships m
        WHERE {SERVER_OF_MEMBER} = $1 AND (m.membership = 'join' OR m.pos > $2)
        GROUP BY m.room_nid
        """,
        destination,
        after,
    )
    stays = [Stay(row["room_nid"], after, upto) for row in rows if row["is_whole"]]
    moved = [row["room_nid"] for row in rows if not row["is_whole"]]
    if moved:
        stays += await _moves(connection, destination, moved, after, upto)
    return _merged([*stays, *await _stays_told(connection, destination, after, upto)])


async def _stays_told(
    connection: Connection, destination: ServerName, after: int, upto: int
) -> list[Stay]:
    """Return the stays in rooms whose members are not all known yet: from our joins on."""
    rows = await connection.fetch(
        """
        SELECT p.room_nid, j.pos FROM partial_joins p
        JOIN events j ON j.event_nid = p.join_nid AND j.pos <= $2
        WHERE $1 = ANY (p.servers_in_room)
        """,
        destination,
        upto,
    )
    return [Stay(row["room_nid"], max(after, row["pos"] - 1), upto) for row in rows]


def _merged(stays: Sequence[Stay]) -> list[Stay]:
    merged: list[Stay] = []
    for stay in sorted(stays):
        last = merged[-1] if merged else None
        if last is not None and last.room_nid == stay.room_nid and stay.after <= last.upto:
            merged[-1] = last._replace(upto=max(last.upto, stay.upto))
        else:
            merged.append(stay)
    return merged


async def _moves(
    connection: Connection, destination: ServerName, room_nids: list[int], after: int, upto: int
) -> list[Stay]:
    rows = await connection.fetch(
        f"""
        SELECT m.room_nid, m.user_id, c.pos, {MEMBERSHIP} AS membership
        FROM memberships m
        JOIN state_keys k ON k.type = 'm.room.member' AND k.state_key = m.user_id
        CROSS JOIN LATERAL (
            (SELECT s.pos, s.event_nid FROM state_changes s
             WHERE s.room_nid = m.room_nid AND s.key_nid = k.key_nid AND s.pos <= $3
             ORDER BY s.pos DESC LIMIT 1)
            UNION ALL
            SELECT s.pos, s.event_nid FROM state_changes s
            WHERE s.room_nid = m.room_nid AND s.key_nid = k.key_nid AND s.pos > $3 AND s.pos <= $4
        ) c
        LEFT JOIN events e ON e.event_nid = c.event_nid
        WHERE {SERVER_OF_MEMBER} = $1 AND m.room_nid = ANY ($2::bigint[])
        ORDER BY c.pos
        """,
        destination,
        room_nids,
        after,
        upto,
    )
    joined: dict[int, set[str]] = {}
    since: dict[int, int] = {}
    stays: list[Stay] = []
    for row in rows:
        room_nid, pos = row["room_nid"], row["pos"]
        members = joined.setdefault(room_nid, set())
        (members.add if row["membership"] == "join" else members.discard)(row["user_id"])
        if members:
            since.setdefault(room_nid, max(after, pos - 1))
        elif room_nid in since:
            stays.append(Stay(room_nid, since.pop(room_nid), pos))
    return stays + [Stay(room_nid, begin, upto) for room_nid, begin in since.items()]


async def events_for(
    connection: Connection,
    own_name: str,
    destination: ServerName,
    stays: Sequence[Stay],
    limit: int,
) -> list[OutboundEvent]:
    """Read the first events of this server, and those it passes on, in stretches of rooms.

    The stretches of all should be about the same: the log is read from the first to the last.
    """
    rows = await connection.fetch(
        """
        SELECT e.pos, e.event_nid
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, a, b)
        JOIN events e ON e.room_nid = w.room_nid AND e.pos > w.a AND e.pos <= w.b
        -- Once more as constants, from which PostgreSQL knows how much that is.
        WHERE e.pos > $8 AND e.pos <= $9 AND e.sub = 0
          AND (e.sender LIKE '%:' || $4 OR (
              (e.flags & $5) <> 0
              AND (e.sender NOT LIKE '%:' || $6 OR e.state_key IS DISTINCT FROM e.sender)
          ))
        ORDER BY e.pos LIMIT $7
        """,
        [each.room_nid for each in stays],
        [each.after for each in stays],
        [each.upto for each in stays],
        own_name,
        PASSED_ON,
        destination,
        limit,
        min(each.after for each in stays),
        max(each.upto for each in stays),
    )
    return [OutboundEvent(*row) for row in rows]


async def devices_changed_for(
    connection: Connection,
    own_name: str,
    destination: ServerName,
    after: int,
    upto: int,
    limit: int,
) -> list[ChangedDevices]:
    """Read whose devices have changed of those who share a room with a server, in order.

    Of those too of whom that is only said yet.
    """
    rows = await connection.fetch(
        f"""
        SELECT max(c.pos) AS pos, c.user_id,
               max(c.pos) FILTER (WHERE c.kind <> 'cross_signing_changed') AS device_pos,
               (array_agg(c.device_id ORDER BY c.pos DESC)
                FILTER (WHERE c.kind <> 'cross_signing_changed'))[1] AS device_id,
               bool_or(c.kind = 'cross_signing_changed') AS is_cross_signing_new
        FROM user_changes c
        WHERE c.pos > $3 AND c.pos <= $4 AND c.kind = ANY ($5::text[])
          AND c.user_id LIKE '%:' || $1
          AND (EXISTS (
              SELECT FROM memberships o JOIN memberships m ON m.room_nid = o.room_nid
              WHERE o.user_id = c.user_id AND o.membership = 'join'
                AND {SERVER_OF_MEMBER} = $2 AND m.membership = 'join'
          ) OR EXISTS (
              SELECT FROM memberships o JOIN partial_joins p ON p.room_nid = o.room_nid
              WHERE o.user_id = c.user_id AND o.membership = 'join'
                AND $2 = ANY (p.servers_in_room)
          ))
        GROUP BY c.user_id ORDER BY 1 LIMIT $6
        """,
        own_name,
        destination,
        after,
        upto,
        list(_DEVICE_KINDS),
        limit,
    )
    return [ChangedDevices(*row) for row in rows]


async def newest_device(connection: Connection, user_id: str) -> DeviceID | None:
    """Return the device of a user that has changed last and is still there."""
    device_id: DeviceID | None = await connection.fetchval(
        """
        SELECT c.device_id FROM user_changes c
        JOIN devices d ON d.user_id = c.user_id AND d.device_id = c.device_id
        WHERE c.user_id = $1 AND c.kind IN ('device_changed', 'device_keys_changed')
        ORDER BY c.pos DESC LIMIT 1
        """,
        user_id,
    )
    return device_id
