"""How far the followers of the log have come, and the leases that say which node runs them."""

from collections.abc import Mapping
from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class Lease(NamedTuple):
    """The right of a node to run followers until a time in milliseconds since 1970."""

    node_id: str
    until_ms: int


class Renewed(NamedTuple):
    """A follower whose lease a node holds; `belongs_here`: no other live node should have it."""

    position: int
    belongs_here: bool


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
    connection: Connection,
    positions: Mapping[str, int],
    lease: Lease,
    now_ms: int,
    *,
    part: str,
    grace_ms: int,
) -> dict[str, Renewed]:
    """Say that a part of a node is alive; keep its leases, and take those that it should have.

    `positions`, by the name of each follower that it can run, are how far it knows them to be;
    they never go back. Of the live nodes that can run a follower, the one that comes first by
    the hash of both should (rendezvous hashing). It takes the lease once it is free; any other
    does when it has been free for `grace_ms`. A follower whose position is just being stored is
    left out rather than waited for.
    """
    rows = await connection.fetch(
        """
        WITH beat AS (
            INSERT INTO follower_nodes AS n (node_id, part, names, alive_until_ms)
            VALUES ($3, $6, $1, $4)
            ON CONFLICT (node_id, part) DO UPDATE
            -- A renewal that was held up must not set back a later one.
            SET names = $1, alive_until_ms = greatest(n.alive_until_ms, $4)
        ), wanted AS (
            SELECT w.name, w.pos, $3 = (
                SELECT n.node_id FROM (
                    SELECT o.node_id FROM follower_nodes o
                    WHERE o.alive_until_ms > $5 AND w.name = ANY (o.names)
                    -- The statement does not see the row that it writes.
                    UNION SELECT $3
                ) n
                ORDER BY sha256(convert_to(n.node_id || ' ' || w.name, 'UTF8')) DESC LIMIT 1
            ) AS belongs_here
            FROM unnest($1::text[], $2::bigint[]) AS w(name, pos)
        ), taken AS (
            SELECT f.name, w.pos, w.belongs_here
            FROM wanted w JOIN followers f ON f.name = w.name
            WHERE f.lease_node = $3 OR (
                (f.lease_node IS NULL OR f.lease_until_ms <= $5)
                AND (w.belongs_here OR f.lease_until_ms <= $5 - $7)
            )
            FOR UPDATE OF f SKIP LOCKED
        )
        UPDATE followers f
        SET lease_node = $3, pos = greatest(f.pos, taken.pos),
            lease_until_ms = CASE WHEN f.lease_node = $3 THEN greatest(f.lease_until_ms, $4)
                                  ELSE $4 END
        FROM taken WHERE f.name = taken.name
        RETURNING f.name, f.pos, taken.belongs_here
        """,
        list(positions.keys()),
        list(positions.values()),
        *lease,
        now_ms,
        part,
        grace_ms,
    )
    return {row["name"]: Renewed(row["pos"], row["belongs_here"]) for row in rows}


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


async def release(
    connection: Connection, positions: Mapping[str, int], node_id: str, now_ms: int
) -> None:
    """Give up a node's leases, so that another node need not wait until they run out."""
    await connection.execute(
        """
        UPDATE followers f
        -- Free since now.
        SET lease_node = NULL, lease_until_ms = $4, pos = greatest(f.pos, w.pos)
        FROM unnest($1::text[], $2::bigint[]) AS w(name, pos)
        WHERE f.name = w.name AND f.lease_node = $3
        """,
        list(positions.keys()),
        list(positions.values()),
        node_id,
        now_ms,
    )
