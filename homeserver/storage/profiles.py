"""Profiles: what local users tell everybody about themselves.

Spec: client-server-api/#profiles
"""

from collections.abc import Collection

from homeserver.storage.database import Connection, Transaction


async def lock(tx: Transaction, user_id: str) -> bool:
    """Let nobody else change the profile until the transaction ends; False: no active account.

    Before anything takes a position: whoever waits here must not hold the log.
    """
    row = await tx.fetchrow(
        """
        SELECT user_id FROM users WHERE user_id = $1 AND deactivated_ts IS NULL
        FOR NO KEY UPDATE
        """,
        user_id,
    )
    return row is not None


async def fields_of(connection: Connection, user_id: str) -> dict[str, bytes] | None:
    """Read all fields by name, as Canonical JSON; None: there is no active account."""
    rows = await connection.fetch(
        """
        SELECT f.name, f.value
        FROM users u LEFT JOIN profile_fields f ON f.user_id = u.user_id
        WHERE u.user_id = $1 AND u.deactivated_ts IS NULL ORDER BY f.name
        """,
        user_id,
    )
    if not rows:
        return None
    return {row["name"]: row["value"] for row in rows if row["name"] is not None}


async def fields_among(
    connection: Connection, user_id: str, names: Collection[str]
) -> dict[str, bytes]:
    """Read those of some fields that are set."""
    rows = await connection.fetch(
        "SELECT name, value FROM profile_fields WHERE user_id = $1 AND name = ANY ($2::text[])",
        user_id,
        list(names),
    )
    return {row["name"]: row["value"] for row in rows}


async def size_of(connection: Connection, user_id: str) -> int:
    """Return how many bytes the whole profile has as Canonical JSON."""
    # A field is `"name":value` and a comma; the object has two braces and one comma less.
    size: int = await connection.fetchval(
        """
        SELECT coalesce(sum(octet_length(name) + octet_length(value) + 4), 1)::bigint + 1
        FROM profile_fields WHERE user_id = $1
        """,
        user_id,
    )
    return size


async def put(tx: Transaction, user_id: str, name: str, value: bytes) -> None:
    """Set a field of a local user to a value in Canonical JSON."""
    await tx.execute(
        """
        INSERT INTO profile_fields (user_id, name, value) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, name) DO UPDATE SET value = excluded.value
        """,
        user_id,
        name,
        value,
    )


async def delete(tx: Transaction, user_id: str, name: str) -> None:
    """Remove a field."""
    await tx.execute("DELETE FROM profile_fields WHERE user_id = $1 AND name = $2", user_id, name)


async def delete_all(tx: Transaction, user_id: str) -> None:
    """Remove all fields of a user."""
    await tx.execute("DELETE FROM profile_fields WHERE user_id = $1", user_id)


async def is_acquainted(connection: Connection, viewer: str, user_id: str) -> bool:
    """Whether two users share a room, or the second is in one that anybody may join or read."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT 1 FROM memberships m
            WHERE m.user_id = $2 AND (
                m.membership = 'join'
                AND EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = m.room_nid)
                OR m.membership IN ('join', 'invite') AND EXISTS (
                    SELECT 1 FROM memberships v
                    WHERE v.user_id = $1 AND v.room_nid = m.room_nid
                      AND v.membership IN ('join', 'invite')
                )
            )
        )
        """,
        viewer,
        user_id,
    )
    return found


async def is_acquainted_with_server(connection: Connection, server: str, user_id: str) -> bool:
    """Whether somebody of a server is acquainted with a user: see `is_acquainted`."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT 1 FROM memberships m
            WHERE m.user_id = $2 AND (
                m.membership = 'join'
                AND EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = m.room_nid)
                OR m.membership IN ('join', 'invite') AND EXISTS (
                    SELECT 1 FROM memberships v
                    WHERE v.room_nid = m.room_nid AND v.membership IN ('join', 'invite')
                      AND right(v.user_id, length($1) + 1) = ':' || $1
                )
            )
        )
        """,
        server,
        user_id,
    )
    return found
