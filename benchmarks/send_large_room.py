"""Messages into a room of 5,000 local members, beside the same in a room of 8.

    python -m benchmarks.send_large_room [--runs 5] [--seconds 0.6] [--members 5000]

The same CPU and the same bytes of write-ahead log are wanted in both.
"""

from collections.abc import Sequence

import asyncpg

from benchmarks.support.filling import make_room
from benchmarks.support.http_client import User
from benchmarks.support.report import percentile, say
from benchmarks.support.sending import WARM_UP_SECONDS, Run, send_for
from benchmarks.support.server import options, run, stopped_server
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.processes import ServerProcess

SENDERS = 8


async def measure(server: ServerProcess, room: str, dsn: str, runs: int, seconds: float) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(SENDERS)]
    small_room = await users[0].creates_room()
    for user in users[1:]:
        await user.joins(small_room)
    database = await asyncpg.connect(dsn)
    rooms = {"small room": small_room, "large room": room}
    for into in rooms.values():
        await send_for(server, users, WARM_UP_SECONDS, dict.fromkeys(users, into).__getitem__)
    for name, into in rooms.items():
        before = await wal_position(database)
        room_of = dict.fromkeys(users, into).__getitem__
        measured = [await send_for(server, users, seconds, room_of) for _ in range(runs)]
        written = await wal_position(database) - before
        report(name, measured, written / sum(len(run.latencies_ms) for run in measured))
    await database.close()


async def wal_position(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'"))


def report(name: str, runs: Sequence[Run], wal_bytes: float) -> None:
    budget = "as the small room" if name == "large room" else ""
    say(f"{name}: CPU of a send", "ms", [run.cpu_ms for run in runs], budget)
    say(f"{name}: WAL of a send", "bytes", [wal_bytes], budget)
    say(f"{name}: latency p50", "ms", [percentile(run.latencies_ms, 50) for run in runs])
    say(f"{name}: latency p95", "ms", [percentile(run.latencies_ms, 95) for run in runs])


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, seconds=0.6, members=5000)
    with stopped_server() as (server, data_dir):
        room = make_room(data_dir, chosen.members)
        server.start()
        dsn = EmbeddedPostgres(data_dir / "postgres").start()
        run(measure, server, room, dsn, chosen.runs, chosen.seconds)
