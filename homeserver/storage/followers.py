"""How far the followers of the log have come, and the leases that say which node runs them."""

from collections.abc import Mapping
from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class Lease(NamedTuple):
    """The right of a node to run followers until a time in milliseconds since 1970."""

    node_id: str
    until_ms: int


async def add(connection: Connection, name: str, *, at_head: bool) -> None:
    """Make a follower that begins at the log's head, or before its first entry; once."""
    await connection.execute(
        """
        INSERT INTO followers (name, pos)
        SELECT $1, CASE WHEN $2 THEN h.pos ELSE 0 END FROM log_head h
        ON CONFLICT (name) DO NOTHING
        """,
        name,
        at_head,
    )


async def renew(
    connection: Connection, positions: Mapping[str, int], lease: Lease, now_ms: int
) -> dict[str, int]:
    """Take or keep the leases of followers that no other node holds, and return their positions.

    `positions`, by name, are how far the node knows them to be; they never go back. A follower
    whose position is just being stored is left out rather than waited for.
    """
    rows = await connection.fetch(
        """
        WITH free AS (
            SELECT f.name, w.pos
            FROM unnest($1::text[], $2::bigint[]) AS w(name, pos)
            JOIN followers f ON f.name = w.name
            WHERE f.lease_node IS NULL OR f.lease_node = $3 OR f.lease_until_ms <= $5
            FOR UPDATE OF f SKIP LOCKED
        )
        UPDATE followers f
        SET lease_node = $3, pos = greatest(f.pos, free.pos),
            -- A renewal that was held up must not set back a later one.
            lease_until_ms = CASE WHEN f.lease_node = $3 THEN greatest(f.lease_until_ms, $4)
                                  ELSE $4 END
        FROM free WHERE f.name = free.name
        RETURNING f.name, f.pos
        """,
        list(positions.keys()),
        list(positions.values()),
        *lease,
        now_ms,
    )
    return {row["name"]: row["pos"] for row in rows}


async def advance(tx: Transaction, name: str, after: int, upto: int, lease: Lease) -> bool:
    """Store that a follower has handled (after, upto], and prolong its lease.

    False: another node has handled some of it, or holds the lease. The row is locked from here to
    the commit: the last act of a transaction.
    """
    row = await tx.fetchrow(
        """
        UPDATE followers SET pos = $3, lease_until_ms = greatest(lease_until_ms, $5)
        WHERE name = $1 AND pos <= $2 AND lease_node = $4 RETURNING name
        """,
        name,
        after,
        upto,
        *lease,
    )
    return row is not None


async def release(connection: Connection, positions: Mapping[str, int], node_id: str) -> None:
    """Give up a node's leases, so that another node need not wait until they run out."""
    await connection.execute(
        """
        UPDATE followers f
        SET lease_node = NULL, lease_until_ms = 0, pos = greatest(f.pos, w.pos)
        FROM unnest($1::text[], $2::bigint[]) AS w(name, pos)
        WHERE f.name = w.name AND f.lease_node = $3
        """,
        list(positions.keys()),
        list(positions.values()),
        node_id,
    )
