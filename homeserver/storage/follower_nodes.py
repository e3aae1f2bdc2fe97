"""The nodes that run followers of the log; that they are alive, `followers.renew` says."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection, UnsuitableDatabase


class NodeAtWork(NamedTuple):
    """A node that is alive, and the followers whose leases it holds, by name."""

    node_id: str
    leases: Sequence[str]


async def leave(connection: Connection, node_id: str, part: str) -> None:
    """Take a part of a node out of the choice: it stops."""
    await connection.execute(
        "DELETE FROM follower_nodes WHERE node_id = $1 AND part = $2", node_id, part
    )


async def bury(connection: Connection, node_ids: Sequence[str], now_ms: int) -> None:
    """Free what nodes hold that are known to be dead."""
    await connection.execute(
        """
        WITH gone AS (DELETE FROM follower_nodes WHERE node_id = ANY ($1::text[]))
        UPDATE followers SET lease_node = NULL, lease_until_ms = $2
        WHERE lease_node = ANY ($1::text[])
        """,
        list(node_ids),
        now_ms,
    )


async def forget_dead(connection: Connection, before_ms: int) -> None:
    """Delete what nodes have left that died before a time, and that have not come back."""
    await connection.execute(
        """
        DELETE FROM follower_nodes WHERE (node_id, part) IN (
            SELECT node_id, part FROM follower_nodes WHERE alive_until_ms < $1
            FOR UPDATE SKIP LOCKED
        )
        """,
        before_ms,
    )


async def alive(connection: Connection, now_ms: int) -> list[NodeAtWork]:
    """List the nodes that are alive. Raises UnsuitableDatabase: no node has ever run on it."""
    if await connection.fetchval("SELECT to_regclass('follower_nodes')") is None:
        raise UnsuitableDatabase("no server of this version has run on the database yet")
    rows = await connection.fetch(
        """
        SELECT n.node_id, ARRAY (
            SELECT f.name FROM followers f
            WHERE f.lease_node = n.node_id AND f.lease_until_ms > $1 ORDER BY f.name
        ) AS leases
        FROM follower_nodes n WHERE n.alive_until_ms > $1 GROUP BY n.node_id ORDER BY n.node_id
        """,
        now_ms,
    )
    return [NodeAtWork(row["node_id"], row["leases"]) for row in rows]


async def unheld(connection: Connection, now_ms: int) -> list[str]:
    """List the followers that stand still, although nodes are alive that would run them."""
    rows = await connection.fetch(
        """
        SELECT f.name FROM followers f
        WHERE (f.lease_node IS NULL OR f.lease_until_ms <= $1) AND EXISTS (
            SELECT FROM follower_nodes n WHERE n.alive_until_ms > $1 AND f.name = ANY (n.names)
        )
        ORDER BY f.name
        """,
        now_ms,
    )
    return [row["name"] for row in rows]
