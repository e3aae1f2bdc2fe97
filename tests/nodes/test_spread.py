"""Background work is spread over the nodes, without Redis, and survives any of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from homeserver.storage import follower_nodes
from homeserver.storage.database import Database
from homeserver.telemetry.clock import SystemClock
from tests.support.processes import server_processes

# Renewals come every 3 s, a lease lasts 10 s, and up to 4 move at a time.
_SECONDS = 120.0


async def leases(database: Database) -> dict[str, int]:
    """Return how many leases each live node has; "" for those that nobody has."""
    async with database.connection() as connection:
        now_ms = SystemClock().now_ms()
        nodes = await follower_nodes.alive(connection, now_ms)
        unheld = await follower_nodes.unheld(connection, now_ms)
    return {"": len(unheld)} | {node.node_id: len(node.leases) for node in nodes}


async def until(
    database: Database, condition: Callable[[Mapping[str, int]], bool]
) -> dict[str, int]:
    async with asyncio.timeout(_SECONDS):
        while True:
            found = await leases(database)
            if condition(found):
                return found
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.2)")


async def belonging(database: Database) -> Counter[str]:
    """Return how many followers belong to each node that has ever lived: the highest hash."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT ON (name) name, node_id FROM follower_nodes, unnest(names) AS name
            ORDER BY name, sha256(convert_to(node_id || ' ' || name, 'UTF8')) DESC
            """
        )
    return Counter(row["node_id"] for row in rows)


async def test_two_nodes_share_the_work_and_one_does_all_when_the_other_is_killed(
    database_dsn: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_DSN": database_dsn}
    with server_processes() as make:
        first, second = make(tmp_path / "data", settings), make(tmp_path / "data", settings)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in (first, second)))
        async with Database(database_dsn, clock=SystemClock()) as database:
            expected = await belonging(database)
            total = expected.total()
            assert total >= 20
            spread = await until(database, lambda found: found == {"": 0} | expected)
            assert len(spread) == 3
            # Hashes are not fair, but that one node gets next to nothing of 20 is unheard of.
            assert min(expected.values()) >= 2

            await asyncio.to_thread(first.kill)
            left = await until(database, lambda found: len(found) == 2 and found[""] == 0)
            (survivor,) = left.keys() - {""}
            assert left[survivor] == total
            assert f":{second.pid}:" in survivor
        await asyncio.to_thread(second.stop)
