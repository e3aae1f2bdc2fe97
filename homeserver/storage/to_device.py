"""Messages to devices: those that wait here, and those that wait for other servers.

Spec: client-server-api/#send-to-device-messaging
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.storage.database import Connection

# Stands for all devices of a user.
ALL_DEVICES: Final = DeviceID("*")


class ToDeviceTarget(NamedTuple):
    """A message to one local device, or to all devices of a local user."""

    user_id: UserID
    device_id: DeviceID
    content: bytes


class OutboundEdu(NamedTuple):
    """The content of an EDU `m.direct_to_device` for another server, as JSON."""

    destination: ServerName
    content: bytes


class ToDeviceWrite(NamedTuple):
    """What one client, or another server, sends at once.

    `digest` is of whatever makes it the same request when it comes again.
    """

    digest: bytes
    sender: UserID
    type: str
    created_ts: int
    targets: Sequence[ToDeviceTarget]
    outbound: Sequence[OutboundEdu] = ()


class AppendedToDevice(NamedTuple):
    """The positions (base_pos, upto] of a batch, and of each request its own or None.

    `busy` are the places of requests that somebody else is writing at the moment.
    """

    base_pos: int
    upto: int
    positions: Sequence[int | None]
    busy: frozenset[int]


class LoggedToDevice(NamedTuple):
    """Whom a position concerns: local users, and other servers."""

    pos: int
    user_ids: Sequence[str]
    destinations: Sequence[str]


class ToDeviceRow(NamedTuple):
    """A message that waits for a device."""

    pos: int
    sender: UserID
    type: str
    content: bytes


class CancelledRequest(NamedTuple):
    """A request for keys to a local device, or all devices of a user, that is not wanted any more.

    `request_id` and `requester` are parts of the JSON of the request and of its cancellation.
    """

    user_id: UserID
    device_id: DeviceID
    request_id: bytes
    requester: bytes


class OutboundRow(NamedTuple):
    """The content of an EDU that waits for its server, as JSON."""

    pos: int
    edu: bytes


async def append_to_device(
    connection: Connection, writes: Sequence[ToDeviceWrite]
) -> AppendedToDevice:
    """Write a batch, to any number of devices, in one statement. See migrations/0018."""
    targets = [
        (place, *target) for place, write in enumerate(writes, 1) for target in write.targets
    ]
    edus = [(place, *edu) for place, write in enumerate(writes, 1) for edu in write.outbound]
    row = await connection.fetchrow(
        """
        SELECT base_pos, upto, positions, busy
        FROM append_to_device(
            $1::bytea[], $2::text[], $3::text[], $4::bigint[],
            $5::integer[], $6::text[], $7::text[], $8::bytea[],
            $9::integer[], $10::text[], $11::bytea[]
        )
        """,
        [write.digest for write in writes],
        [write.sender for write in writes],
        [write.type for write in writes],
        [write.created_ts for write in writes],
        *_columns(targets, 4),
        *_columns(edus, 3),
    )
    assert row is not None
    return AppendedToDevice(
        row["base_pos"],
        row["upto"],
        row["positions"],
        frozenset(place - 1 for place in row["busy"]),
    )


async def to_device_after(connection: Connection, after: int, upto: int) -> list[LoggedToDevice]:
    """Read whom the positions in (after, upto] concern; without what is acknowledged or sent."""
    rows = await connection.fetch(
        """
        SELECT pos, array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL) AS user_ids,
               array_agg(destination) FILTER (WHERE destination IS NOT NULL) AS destinations
        FROM (
            SELECT pos, user_id, NULL AS destination FROM to_device_messages
            WHERE pos > $1 AND pos <= $2
            UNION ALL
            SELECT pos, NULL, destination FROM outbound_to_device WHERE pos > $1 AND pos <= $2
        ) changes
        GROUP BY pos ORDER BY pos
        """,
        after,
        upto,
    )
    return [
        LoggedToDevice(row["pos"], row["user_ids"] or (), row["destinations"] or ()) for row in rows
    ]


async def messages_of(
    connection: Connection, user_id: str, device_id: str, after: int, upto: int, limit: int
) -> list[ToDeviceRow]:
    """Read a device's first messages at positions in (after, upto], in order."""
    rows = await connection.fetch(
        """
        SELECT pos, sender, type, content FROM to_device_messages
        WHERE user_id = $1 AND device_id = $2 AND pos > $3 AND pos <= $4
        ORDER BY pos LIMIT $5
        """,
        user_id,
        device_id,
        after,
        upto,
        limit,
    )
    return [ToDeviceRow(*row) for row in rows]


async def delete_acknowledged(
    connection: Connection, user_id: str, device_id: str, upto: int
) -> None:
    """Delete a device's messages up to and including a position."""
    await connection.execute(
        "DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND pos <= $3",
        user_id,
        device_id,
        upto,
    )


async def delete_cancelled(
    connection: Connection,
    sender: UserID,
    event_type: str,
    cancelled: Sequence[CancelledRequest],
    away_ms: int,
) -> None:
    """Delete requests that wait for devices together with the cancellations behind them.

    A cancellation stays unless its device was last seen so long before the request that it cannot
    have been given it: then it is of no use alone. What others are just deleting is left to them.
    """
    await connection.execute(
        """
        WITH found AS MATERIALIZED (
            SELECT m.user_id, m.device_id, m.pos, m.created_ts, w.place,
                   position($3::bytea IN m.content) > 0 AS cancels
            FROM unnest($4::text[], $5::text[], $6::bytea[], $7::bytea[])
                 WITH ORDINALITY AS w (user_id, device_id, request_id, requester, place)
            JOIN to_device_messages m
                ON m.user_id = w.user_id AND w.device_id IN (m.device_id, '*')
            WHERE m.sender = $1 AND m.type = $2
              AND position(w.request_id IN m.content) > 0
              AND position(w.requester IN m.content) > 0
            FOR UPDATE OF m SKIP LOCKED
        ), pairs AS (
            SELECT user_id, device_id, place, max(pos) FILTER (WHERE cancels) AS upto,
                   min(pos) FILTER (WHERE NOT cancels) AS since,
                   min(created_ts) FILTER (WHERE NOT cancels) AS requested_ts
            FROM found GROUP BY user_id, device_id, place
        )
        DELETE FROM to_device_messages m
        USING found f, pairs p, devices d
        WHERE m.user_id = f.user_id AND m.device_id = f.device_id AND m.pos = f.pos
          AND p.user_id = f.user_id AND p.device_id = f.device_id AND p.place = f.place
          AND d.user_id = f.user_id AND d.device_id = f.device_id
          AND f.pos BETWEEN p.since AND p.upto
          AND (NOT f.cancels OR d.last_seen_ts < p.requested_ts - $8)
        """,
        sender,
        event_type,
        b'"action":"request_cancellation"',
        *_columns(cancelled, 4),
        away_ms,
    )


async def delete_sent_before(connection: Connection, before_ts: int, limit: int) -> int:
    """Look at the oldest messages, delete those sent before a time, and say how many."""
    deleted: int = await connection.fetchval(
        """
        WITH oldest AS (
            SELECT user_id, device_id, pos FROM to_device_messages ORDER BY pos LIMIT $2
        ), deleted AS (
            DELETE FROM to_device_messages m USING oldest o
            WHERE m.user_id = o.user_id AND m.device_id = o.device_id AND m.pos = o.pos
              AND m.created_ts < $1
            RETURNING m.pos
        )
        SELECT count(*) FROM deleted
        """,
        before_ts,
        limit,
    )
    return deleted


async def delete_requests_before(connection: Connection, before_ts: int) -> None:
    """Forget the transaction and message IDs of before a time."""
    await connection.execute("DELETE FROM to_device_requests WHERE created_ts < $1", before_ts)


async def outbound_of(
    connection: Connection, destination: str, after: int, limit: int
) -> list[OutboundRow]:
    """Read the first EDUs for a server after a position, in order."""
    rows = await connection.fetch(
        """
        SELECT pos, edu FROM outbound_to_device
        WHERE destination = $1 AND pos > $2 ORDER BY pos LIMIT $3
        """,
        destination,
        after,
        limit,
    )
    return [OutboundRow(*row) for row in rows]


async def delete_outbound(connection: Connection, destination: str, upto: int) -> None:
    """Delete the EDUs for a server up to and including a position: it has taken them."""
    await connection.execute(
        "DELETE FROM outbound_to_device WHERE destination = $1 AND pos <= $2", destination, upto
    )


async def delete_outbound_before(connection: Connection, before_ts: int, limit: int) -> int:
    """Look at the oldest EDUs, delete those made before a time, and say how many."""
    deleted: int = await connection.fetchval(
        """
        WITH oldest AS (
            SELECT destination, pos FROM outbound_to_device ORDER BY pos LIMIT $2
        ), deleted AS (
            DELETE FROM outbound_to_device e USING oldest o
            WHERE e.destination = o.destination AND e.pos = o.pos AND e.created_ts < $1
            RETURNING e.pos
        )
        SELECT count(*) FROM deleted
        """,
        before_ts,
        limit,
    )
    return deleted


def _columns(rows: Sequence[tuple[object, ...]], count: int) -> list[list[object]]:
    """Turn rows of a known width into columns, which there are without any row too."""
    if not rows:
        return [[] for _ in range(count)]
    return [list(column) for column in zip(*rows, strict=True)]
