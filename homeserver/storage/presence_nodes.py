"""Which nodes are alive, and what users are by the clients that are connected to each.

Spec: client-server-api/#presence
"""

from collections.abc import Collection, Mapping
from typing import Final

from homeserver.storage.database import Connection, Transaction
from homeserver.storage.presence import Seen

_OF_LIVE_NODES: Final = """
    presence_on_nodes o JOIN presence_nodes n ON n.node_id = o.node_id AND n.alive_until_ts > $2
"""


async def stay_alive(connection: Connection, node_id: str, until_ts: int) -> bool:
    """Say that a node is alive until a time; False: it was not known, or thought to be dead."""
    is_new: bool = await connection.fetchval(
        """
        INSERT INTO presence_nodes (node_id, alive_until_ts) VALUES ($1, $2)
        ON CONFLICT (node_id) DO UPDATE SET alive_until_ts = excluded.alive_until_ts
        RETURNING xmax = 0
        """,
        node_id,
        until_ts,
    )
    return not is_new


async def put(tx: Transaction, node_id: str, seen: Mapping[str, Seen]) -> None:
    """Store what users are by the clients of a node."""
    await tx.execute(
        """
        INSERT INTO presence_on_nodes (node_id, user_id, presence, currently_active)
        SELECT $1, w.* FROM unnest($2::text[], $3::text[], $4::boolean[]) AS w
        ON CONFLICT (user_id, node_id) DO UPDATE
        SET presence = excluded.presence, currently_active = excluded.currently_active
        """,
        node_id,
        list(seen),
        [each.presence for each in seen.values()],
        [each.currently_active for each in seen.values()],
    )


async def remove(tx: Transaction, node_id: str, user_ids: Collection[str]) -> None:
    """Forget what users are by the clients of a node: there are none any more."""
    await tx.execute(
        "DELETE FROM presence_on_nodes WHERE node_id = $1 AND user_id = ANY ($2::text[])",
        node_id,
        list(user_ids),
    )


async def remove_dead(
    tx: Transaction, node_ids: Collection[str], user_ids: Collection[str], now_ms: int
) -> None:
    """Forget what users are by the clients of nodes, of those that are dead still."""
    await tx.execute(
        """
        DELETE FROM presence_on_nodes o USING presence_nodes n
        WHERE n.node_id = o.node_id AND n.alive_until_ts <= $3
          AND o.node_id = ANY ($1::text[]) AND o.user_id = ANY ($2::text[])
        """,
        list(node_ids),
        list(user_ids),
        now_ms,
    )


async def seen(connection: Connection, user_ids: Collection[str], now_ms: int) -> dict[str, Seen]:
    """Return what users are by the clients of all nodes that are alive: the most active wins."""
    rows = await connection.fetch(
        f"""
        SELECT o.user_id,
               CASE WHEN bool_or(o.presence = 'online') THEN 'online' ELSE 'unavailable' END
                   AS presence,
               bool_or(o.presence = 'online' AND o.currently_active) AS currently_active
        FROM {_OF_LIVE_NODES}
        WHERE o.user_id = ANY ($1::text[]) GROUP BY o.user_id
        """,
        list(user_ids),
        now_ms,
    )
    return {row["user_id"]: Seen(row["presence"], row["currently_active"]) for row in rows}


async def dead_nodes(connection: Connection, now_ms: int) -> list[str]:
    """List the nodes that have not said for too long to be alive."""
    rows = await connection.fetch(
        "SELECT node_id FROM presence_nodes WHERE alive_until_ts <= $1", now_ms
    )
    return [row["node_id"] for row in rows]


async def users_of_nodes(connection: Connection, node_ids: Collection[str], limit: int) -> set[str]:
    """Return users who were connected to some nodes."""
    rows = await connection.fetch(
        "SELECT DISTINCT user_id FROM presence_on_nodes WHERE node_id = ANY ($1::text[]) LIMIT $2",
        list(node_ids),
        limit,
    )
    return {row["user_id"] for row in rows}


async def forget_dead(connection: Connection, node_ids: Collection[str], now_ms: int) -> None:
    """Delete nodes that are still dead, once nobody is connected to them any more."""
    await connection.execute(
        """
        DELETE FROM presence_nodes n
        WHERE n.node_id = ANY ($1::text[]) AND n.alive_until_ts <= $2
          AND NOT EXISTS (SELECT FROM presence_on_nodes o WHERE o.node_id = n.node_id)
        """,
        list(node_ids),
        now_ms,
    )
