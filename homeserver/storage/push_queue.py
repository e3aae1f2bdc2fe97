"""Notifications that wait to be sent: each pusher's in the order of the log."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.storage import outside_invites
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.outside_invites import IS_OPEN, OutsideInvite
from homeserver.storage.pushers import PUSHER_COLUMNS, PusherRow

# The number of what is no row of `events`: an invite into a room that this server is not in.
OUTSIDE_INVITE: Final = 0


class EventPush(NamedTuple):
    """A user is to be notified of the event at a position; `tweaks` is JSON.

    Of the user's invite from outside at the position, where `event_nid` is OUTSIDE_INVITE.
    """

    user_id: UserID
    pos: int
    event_nid: int
    is_highlight: bool
    tweaks: bytes


class CountPush(NamedTuple):
    """At a position a user has read something."""

    user_id: UserID
    pos: int


class Waiting(NamedTuple):
    """What waits longest for a pusher; `event_nid` None: new counts.

    `is_moot`: read, redacted, answered or out of sight meanwhile.
    """

    pos: int
    event_nid: int | None
    is_highlight: bool
    tweaks: bytes
    added_ts: int
    is_moot: bool


class PushedEvent(NamedTuple):
    """What a notification tells of an event; member, name and alias are cores of events."""

    event_id: EventID
    room_nid: int
    room_id: RoomID
    type: str
    sender: UserID
    state_key: str | None
    origin_server_ts: int
    core: bytes
    member_core: bytes | None
    name_core: bytes | None
    alias_core: bytes | None


async def put_events(
    tx: Transaction, pushes: Sequence[EventPush], now_ms: int, email_delay_ms: int
) -> set[int]:
    """Queue notifications for all pushers of their users; return the numbers of these.

    The first mail after a while waits for what else comes.
    """
    users = list({push.user_id for push in pushes})
    await tx.execute(
        """
        UPDATE pushers p SET next_ts = $2
        WHERE p.user_id = ANY ($1::text[]) AND p.kind = 'email' AND p.next_ts < $2
          AND p.is_enabled
          AND NOT EXISTS (SELECT FROM push_queue q WHERE q.pusher_nid = p.pusher_nid)
        """,
        users,
        now_ms + email_delay_ms,
    )
    rows = await tx.fetch(
        """
        INSERT INTO push_queue (pusher_nid, pos, event_nid, is_highlight, tweaks, added_ts)
        SELECT p.pusher_nid, w.pos, w.event_nid, w.is_highlight, w.tweaks, $6
        FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::bytea[])
             AS w(user_id, pos, event_nid, is_highlight, tweaks)
        JOIN pushers p ON p.user_id = w.user_id AND p.is_enabled AND p.is_activated
                      AND p.since_pos < w.pos
        ON CONFLICT (pusher_nid, pos) DO NOTHING
        RETURNING pusher_nid
        """,
        [push.user_id for push in pushes],
        [push.pos for push in pushes],
        [push.event_nid for push in pushes],
        [push.is_highlight for push in pushes],
        [push.tweaks for push in pushes],
        now_ms,
    )
    return {row["pusher_nid"] for row in rows}


async def put_counts(tx: Transaction, pushes: Sequence[CountPush], now_ms: int) -> set[int]:
    """Queue new counts for those pushers that show some; return the numbers of these."""
    rows = await tx.fetch(
        """
        INSERT INTO push_queue (pusher_nid, pos, event_nid, is_highlight, tweaks, added_ts)
        SELECT p.pusher_nid, max(w.pos), NULL, false, '{}'::bytea, $3
        FROM unnest($1::text[], $2::bigint[]) AS w(user_id, pos)
        JOIN pushers p ON p.user_id = w.user_id AND p.is_enabled AND p.kind = 'http'
        WHERE p.told_unread > 0
           OR EXISTS (SELECT FROM push_queue q WHERE q.pusher_nid = p.pusher_nid)
        GROUP BY p.pusher_nid
        ON CONFLICT (pusher_nid, pos) DO NOTHING
        RETURNING pusher_nid
        """,
        [push.user_id for push in pushes],
        [push.pos for push in pushes],
        now_ms,
    )
    return {row["pusher_nid"] for row in rows}


async def due(connection: Connection, now_ms: int, limit: int) -> list[int]:
    """Return pushers for which something waits that may be sent now, and no node sends."""
    rows = await connection.fetch(
        """
        -- From one pusher to the next, however much waits for each.
        WITH RECURSIVE q AS (
            (SELECT pusher_nid FROM push_queue ORDER BY pusher_nid LIMIT 1)
            UNION ALL
            SELECT (SELECT n.pusher_nid FROM push_queue n
                    WHERE n.pusher_nid > q.pusher_nid ORDER BY n.pusher_nid LIMIT 1)
            FROM q WHERE q.pusher_nid IS NOT NULL
        )
        SELECT p.pusher_nid FROM q JOIN pushers p ON p.pusher_nid = q.pusher_nid
        WHERE p.next_ts <= $1 AND p.claim_until_ts <= $1
        ORDER BY p.next_ts LIMIT $2
        """,
        now_ms,
        limit,
    )
    return [row["pusher_nid"] for row in rows]


async def claim(
    connection: Connection, pusher_nid: int, node_id: str, now_ms: int, until_ms: int
) -> PusherRow | None:
    """Have this node alone send for a pusher until a time; None: another does, or not yet."""
    row = await connection.fetchrow(
        f"""
        UPDATE pushers p SET claim_node = $2, claim_until_ts = $4
        WHERE p.pusher_nid = $1 AND p.next_ts <= $3 AND p.is_enabled AND p.is_activated
          AND (p.claim_until_ts <= $3 OR p.claim_node = $2)
        RETURNING {PUSHER_COLUMNS}
        """,
        pusher_nid,
        node_id,
        now_ms,
        until_ms,
    )
    return PusherRow(*row) if row else None


async def release(connection: Connection, pusher_nid: int, node_id: str) -> None:
    """Let other nodes send for a pusher."""
    await connection.execute(
        """
        UPDATE pushers SET claim_node = NULL, claim_until_ts = 0
        WHERE pusher_nid = $1 AND claim_node = $2
        """,
        pusher_nid,
        node_id,
    )


# Whether the user has read the event at q.pos, or may not be told of it any more.
_IS_MOOT: Final = """
    e.event_nid IS NULL OR e.redacted_by_nid IS NOT NULL
    OR NOT EXISTS (
        SELECT FROM memberships m
        WHERE m.user_id = p.user_id AND m.room_nid = e.room_nid
          AND (m.membership = 'join' OR m.event_nid = e.event_nid)
    )
    OR EXISTS (
        SELECT FROM read_counters c LEFT JOIN events root ON root.event_nid = e.thread_nid
        WHERE c.user_id = p.user_id AND c.room_nid = e.room_nid AND c.read_pos >= e.pos
          AND (c.thread_id = '' OR c.thread_id = coalesce(root.event_id, 'main'))
    )
"""


async def waiting(
    connection: Connection, pusher_nid: int, ignored: Collection[str], limit: int
) -> list[Waiting]:
    """Return what waits longest for a pusher, in order; what `ignored` users do is moot."""
    rows = await connection.fetch(
        f"""
        SELECT q.pos, q.event_nid, q.is_highlight, q.tweaks, q.added_ts,
               CASE WHEN q.event_nid IS NULL THEN false
                    WHEN coalesce(e.sender, o.sender) = ANY ($2::text[]) THEN true
                    WHEN q.event_nid = {OUTSIDE_INVITE} THEN o.pos IS NULL OR NOT {IS_OPEN}
                    ELSE {_IS_MOOT} END
        FROM push_queue q
        JOIN pushers p ON p.pusher_nid = q.pusher_nid
        LEFT JOIN events e ON e.event_nid = q.event_nid
        LEFT JOIN outside_invites o
            ON q.event_nid = {OUTSIDE_INVITE} AND o.user_id = p.user_id AND o.pos = q.pos
        WHERE q.pusher_nid = $1 ORDER BY q.pos LIMIT $3
        """,
        pusher_nid,
        list(ignored),
        limit,
    )
    return [Waiting(*row) for row in rows]


async def is_empty(connection: Connection, pusher_nid: int) -> bool:
    """Whether nothing waits for a pusher."""
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM push_queue WHERE pusher_nid = $1)", pusher_nid
    )
    return not found


async def forget(connection: Connection, pusher_nid: int, positions: Collection[int]) -> None:
    """Take notifications out of a pusher's queue."""
    await connection.execute(
        "DELETE FROM push_queue WHERE pusher_nid = $1 AND pos = ANY ($2::bigint[])",
        pusher_nid,
        list(positions),
    )


async def sent(
    connection: Connection, pusher_nid: int, pos: int, unread: int, claim_until_ms: int
) -> None:
    """Take what was sent out of the queue, with counts of this many unread."""
    await connection.execute(
        """
        WITH gone AS (DELETE FROM push_queue WHERE pusher_nid = $1 AND pos = $2)
        UPDATE pushers SET told_unread = $3, failures = 0, claim_until_ts = $4
        WHERE pusher_nid = $1
        """,
        pusher_nid,
        pos,
        unread,
        claim_until_ms,
    )


async def postpone(connection: Connection, pusher_nid: int, failures: int, next_ts: int) -> None:
    """Leave a pusher alone until a time."""
    await connection.execute(
        "UPDATE pushers SET failures = $2, next_ts = $3 WHERE pusher_nid = $1",
        pusher_nid,
        failures,
        next_ts,
    )


async def expire(connection: Connection, before_ms: int, limit: int) -> None:
    """Forget what has waited since before a time, and all but the newest of each pusher."""
    await connection.execute("DELETE FROM push_queue WHERE added_ts < $1", before_ms)
    await connection.execute(
        """
        DELETE FROM push_queue q USING (
            SELECT w.pusher_nid, w.pos, row_number() OVER newest_first AS place
            FROM push_queue w
            WINDOW newest_first AS (PARTITION BY w.pusher_nid ORDER BY w.pos DESC)
        ) counted
        WHERE q.pusher_nid = counted.pusher_nid AND q.pos = counted.pos AND counted.place > $1
        """,
        limit,
    )


async def pushed_events(
    connection: Connection, user_id: UserID, rows: Sequence[Waiting]
) -> dict[int, PushedEvent]:
    """Read what a user's notifications tell, by their positions in the log.

    The rooms are as they are now; those of invites from outside as the invites describe them.
    """
    nids = {row.event_nid for row in rows if row.event_nid is not None}
    events = await _events(connection, list(nids - {OUTSIDE_INVITE}))
    found = {row.pos: events[row.event_nid] for row in rows if row.event_nid in events}
    if OUTSIDE_INVITE in nids:
        places = [(user_id, row.pos) for row in rows if row.event_nid == OUTSIDE_INVITE]
        invites = await outside_invites.at(connection, places)
        found |= {pos: _of_invite(invite) for (_, pos), invite in invites.items()}
    return found


def _of_invite(invite: OutsideInvite) -> PushedEvent:
    return PushedEvent(
        invite.event_id,
        invite.room_nid,
        invite.room_id,
        "m.room.member",
        invite.sender,
        invite.user_id,
        invite.origin_server_ts,
        invite.core,
        invite.member_core,
        invite.name_core,
        invite.alias_core,
    )


async def _events(connection: Connection, event_nids: Sequence[int]) -> dict[int, PushedEvent]:
    if not event_nids:
        return {}
    rows = await connection.fetch(
        f"""
        SELECT e.event_nid, e.event_id, e.room_nid, r.room_id, e.type, e.sender, e.state_key,
               e.origin_server_ts, e.core, {_state("'m.room.member'", "e.sender")},
               {_state("'m.room.name'", "''")}, {_state("'m.room.canonical_alias'", "''")}
        FROM events e JOIN rooms r ON r.room_nid = e.room_nid
        WHERE e.event_nid = ANY ($1::bigint[])
        """,
        event_nids,
    )
    return {row["event_nid"]: PushedEvent(*list(row)[1:]) for row in rows}


def _state(event_type: str, state_key: str) -> str:
    return f"""
        (SELECT s.core FROM state_keys k
         JOIN room_state t ON t.key_nid = k.key_nid AND t.room_nid = e.room_nid
         JOIN events s ON s.event_nid = t.event_nid
         WHERE k.type = {event_type} AND k.state_key = {state_key})
    """


async def missed_calls(connection: Connection, user_id: str, room_nids: Sequence[int]) -> int:
    """Count calls in rooms that the user has neither answered nor read since."""
    count: int = await connection.fetchval(
        """
        SELECT count(*)
        FROM unnest($2::bigint[]) AS w(room_nid)
        JOIN events e ON e.room_nid = w.room_nid
                     AND e.type = 'm.call.invite' AND e.pos IS NOT NULL
        WHERE e.sender <> $1 AND e.redacted_by_nid IS NULL
          AND e.pos > coalesce((SELECT max(c.read_pos) FROM read_counters c
                                WHERE c.user_id = $1 AND c.room_nid = w.room_nid
                                  AND c.thread_id IN ('', 'main')), 0)
        """,
        user_id,
        list(room_nids),
    )
    return count
