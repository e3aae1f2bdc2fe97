"""Where users want to be notified."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


class PusherRow(NamedTuple):
    """A pusher; `content` is the client's `data` as JSON, times are in ms since 1970."""

    pusher_nid: int
    user_id: UserID
    app_id: str
    pushkey: str
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    content: bytes
    set_ts: int
    device_id: str | None
    token_nid: int | None
    is_enabled: bool
    is_activated: bool
    unsubscribe_token: str | None
    told_unread: int
    failures: int


class PusherWrite(NamedTuple):
    """What a pusher is set to."""

    user_id: str
    app_id: str
    pushkey: str
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    content: bytes
    set_ts: int
    device_id: str | None
    token_nid: int | None
    is_enabled: bool
    is_activated: bool
    ack_hash: bytes | None
    ack_expires_ts: int | None
    unsubscribe_token: str | None


# The columns of a PusherRow, for statements whose pushers are called `p`.
PUSHER_COLUMNS = """
    p.pusher_nid, p.user_id, p.app_id, p.pushkey, p.kind, p.app_display_name,
    p.device_display_name, p.profile_tag, p.lang, p.content, p.set_ts, p.device_id, p.token_nid,
    p.is_enabled, p.is_activated, p.unsubscribe_token, p.told_unread, p.failures
"""


async def of_user(connection: Connection, user_id: str) -> list[PusherRow]:
    """List the pushers of a user, the oldest first."""
    rows = await connection.fetch(
        f"SELECT {PUSHER_COLUMNS} FROM pushers p WHERE p.user_id = $1 ORDER BY p.pusher_nid",
        user_id,
    )
    return [PusherRow(*row) for row in rows]


async def users_with_pushers(connection: Connection) -> list[UserID]:
    """List the users who have pushers."""
    rows = await connection.fetch("SELECT DISTINCT user_id FROM pushers")
    return [UserID(row["user_id"]) for row in rows]


async def upsert(tx: Transaction, pusher: PusherWrite) -> int:
    """Make a pusher, or set what it is now, and return its number.

    What waits is sent at once, unless the pusher is to be left alone.
    """
    pusher_nid: int = await tx.fetchval(
        """
        INSERT INTO pushers (user_id, app_id, pushkey, kind, app_display_name,
                             device_display_name, profile_tag, lang, content, set_ts, device_id,
                             token_nid, is_enabled, is_activated, ack_hash, ack_expires_ts,
                             unsubscribe_token, since_pos)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                (SELECT pos FROM log_head))
        ON CONFLICT (user_id, app_id, pushkey) DO UPDATE
        SET kind = excluded.kind, app_display_name = excluded.app_display_name,
            device_display_name = excluded.device_display_name,
            profile_tag = excluded.profile_tag, lang = excluded.lang, content = excluded.content,
            set_ts = excluded.set_ts, device_id = excluded.device_id,
            token_nid = excluded.token_nid, is_enabled = excluded.is_enabled,
            is_activated = excluded.is_activated, ack_hash = excluded.ack_hash,
            ack_expires_ts = excluded.ack_expires_ts,
            unsubscribe_token = excluded.unsubscribe_token, failures = 0,
            since_pos = CASE WHEN pushers.is_enabled AND pushers.is_activated
                             THEN pushers.since_pos ELSE excluded.since_pos END,
            -- A mail is not sent sooner because its pusher is set again.
            next_ts = CASE WHEN excluded.kind = 'email' THEN pushers.next_ts ELSE 0 END
        RETURNING pusher_nid
        """,
        *pusher,
    )
    if not (pusher.is_enabled and pusher.is_activated):
        await tx.execute("DELETE FROM push_queue WHERE pusher_nid = $1", pusher_nid)
    return pusher_nid


async def delete(tx: Transaction, user_id: str, app_id: str, pushkey: str) -> None:
    """Delete a pusher of a user, if there is one."""
    await tx.execute(
        "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3",
        user_id,
        app_id,
        pushkey,
    )


async def delete_of_others(tx: Transaction, user_id: str, app_id: str, pushkey: str) -> None:
    """Delete the pushers with which other users are notified in the same place."""
    await tx.execute(
        "DELETE FROM pushers WHERE pushkey = $3 AND app_id = $2 AND user_id <> $1",
        user_id,
        app_id,
        pushkey,
    )


async def delete_by_nid(connection: Connection, pusher_nid: int) -> None:
    """Delete a pusher whose place has refused it."""
    await connection.execute("DELETE FROM pushers WHERE pusher_nid = $1", pusher_nid)


async def by_nid(connection: Connection, pusher_nid: int) -> PusherRow | None:
    """Read a pusher."""
    row = await connection.fetchrow(
        f"SELECT {PUSHER_COLUMNS} FROM pushers p WHERE p.pusher_nid = $1", pusher_nid
    )
    return PusherRow(*row) if row else None


class Activation(NamedTuple):
    """A pusher that waits to be activated, or is."""

    pusher_nid: int
    ack_hash: bytes | None
    ack_expires_ts: int | None


async def activations(connection: Connection, user_id: str, app_id: str) -> Sequence[Activation]:
    """Return the pushers of an application that could be activated."""
    rows = await connection.fetch(
        """
        SELECT pusher_nid, ack_hash, ack_expires_ts FROM pushers
        WHERE user_id = $1 AND app_id = $2 AND ack_hash IS NOT NULL
        """,
        user_id,
        app_id,
    )
    return [Activation(*row) for row in rows]


async def activate(connection: Connection, pusher_nid: int, ack_hash: bytes) -> bool:
    """Activate a pusher; False: it has been set again meanwhile."""
    row = await connection.fetchrow(
        """
        UPDATE pushers SET is_activated = true, since_pos = (SELECT pos FROM log_head)
        WHERE pusher_nid = $1 AND ack_hash = $2
        RETURNING pusher_nid
        """,
        pusher_nid,
        ack_hash,
    )
    return row is not None


async def by_unsubscribe_token(connection: Connection, token: str) -> PusherRow | None:
    """Find the pusher of a link in a mail."""
    row = await connection.fetchrow(
        f"SELECT {PUSHER_COLUMNS} FROM pushers p WHERE p.unsubscribe_token = $1", token
    )
    return PusherRow(*row) if row else None
