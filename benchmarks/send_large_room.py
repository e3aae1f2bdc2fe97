"""Messages into a room of 5,000 local members, beside the same in a room of 8.

    python -m benchmarks.send_large_room [--runs 5] [--seconds 0.6] [--members 5000]

The same CPU, the same rows and the same bytes of write-ahead log are wanted in both.
"""

from collections.abc import Sequence

import asyncpg

from benchmarks.support.filling import make_room
from benchmarks.support.http_client import User
from benchmarks.support.report import percentile, say
from benchmarks.support.sending import Run, measure_sends
from benchmarks.support.server import options, run, stopped_server
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.processes import ServerProcess

SENDERS = 8
# Rows that are inserted or updated; autovacuum does not count here.
_WRITTEN = """
    SELECT pg_current_wal_insert_lsn() - '0/0' AS wal_bytes,
           (SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables) AS rows
"""


async def measure(server: ServerProcess, room: str, dsn: str, runs: int, seconds: float) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(SENDERS)]
    small_room = await users[0].creates_room()
    for user in users[1:]:
        await user.joins(small_room)
    database = await asyncpg.connect(dsn)
    for name, chosen in (("small room", small_room), ("large room", room)):
        before = await database.fetchrow(_WRITTEN)
        measured = await measure_sends(
            server, users, lambda _, chosen=chosen: chosen, runs=runs, seconds=seconds
        )
        await database.execute("SELECT pg_stat_force_next_flush()")
        after = await database.fetchrow(_WRITTEN)
        report(name, measured)
        sends = await count_of_messages(database, chosen)
        say(f"{name}: WAL of a send", "bytes", [(after["wal_bytes"] - before["wal_bytes"]) / sends])
        say(f"{name}: rows of a send", "rows", [(after["rows"] - before["rows"]) / sends])
    await database.close()


def report(name: str, runs: Sequence[Run]) -> None:
    budget = "as the small room" if name == "large room" else ""
    say(f"{name}: CPU of a send", "ms", [run.cpu_ms for run in runs], budget)
    say(f"{name}: latency p50", "ms", [percentile(run.latencies_ms, 50) for run in runs])
    say(f"{name}: latency p95", "ms", [percentile(run.latencies_ms, 95) for run in runs])


async def count_of_messages(database: asyncpg.Connection, room_id: str) -> int:
    count: int = await database.fetchval(
        """
        SELECT count(*) FROM events e JOIN rooms r ON r.room_nid = e.room_nid
        WHERE r.room_id = $1 AND e.type = 'm.room.message'
        """,
        room_id,
    )
    return count


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, seconds=0.6, members=5000)
    with stopped_server() as (server, data_dir):
        room = make_room(data_dir, chosen.members)
        server.start()
        dsn = EmbeddedPostgres(data_dir / "postgres").start()
        run(measure, server, room, dsn, chosen.runs, chosen.seconds)
