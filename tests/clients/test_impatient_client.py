"""A client that gives up waiting, and repeats its request."""

import asyncio
from pathlib import Path

from homeserver.storage.database import Connection
from tests.support.client import clients_of
from tests.support.server import server_of

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def somebody_waits_for_a_lock(connection: Connection) -> None:
    async with asyncio.timeout(30):
        # Statistics are the same throughout a transaction unless they are cleared.
        while not await connection.fetchval(_WAITING):
            await connection.execute("SELECT pg_stat_clear_snapshot()")


async def test_repetition_while_the_first_write_is_on_its_way_is_the_same_event(
    database_dsn: str, tmp_path: Path
) -> None:
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice = await clients.user("alice")
        room = await alice.creates_room()
        async with server.base.database.transaction() as tx:
            await tx.execute("SELECT FROM rooms FOR UPDATE")
            first = asyncio.create_task(alice.sends(room, "hello", txn_id="t1"))
            await somebody_waits_for_a_lock(tx)
            first.cancel()
            await asyncio.wait([first])
            second = asyncio.create_task(alice.sends(room, "hello", txn_id="t1"))
            # Some more round trips, so that the repetition has come in before the write goes on.
            for _ in range(5):
                await alice.get("account/whoami")
        event_id = await second
        events = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
        messages = [event for event in events if event["type"] == "m.room.message"]
        assert [event["event_id"] for event in messages] == [event_id]
