"""Messages into a room of 5,000 local members, plain and encrypted, beside a room of 8.

    python -m benchmarks.send_large_room [--runs 5] [--seconds 0.6] [--members 5000]

The same CPU, rows and bytes of write-ahead log are wanted in all of them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

import asyncpg

from benchmarks.support.filling import make_room
from benchmarks.support.http_client import User
from benchmarks.support.report import percentile, say
from benchmarks.support.sending import WARM_UP_SECONDS, Run, send_for
from benchmarks.support.server import options, run, stopped_server
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.processes import ServerProcess

SENDERS: Final = 8
# A Megolm message of a line of text, as clients send it.
CIPHERTEXT_CHARACTERS: Final = 400
# PostgreSQL's sessions tell what they have counted when they have been idle for ten.
COUNTED_SECONDS: Final = 11.0


class Written(NamedTuple):
    """What has been written to the database, since it was made."""

    wal_bytes: int
    rows: int


async def measure(server: ServerProcess, room: str, dsn: str, runs: int, seconds: float) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(SENDERS)]
    small_room = await users[0].creates_room()
    for user in users[1:]:
        await user.joins(small_room)
    database = await asyncpg.connect(dsn)

    async def measure_room(
        name: str, into: str, message: Callable[[User, str, str], bytes] = User.message
    ) -> None:
        room_of = dict.fromkeys(users, into).__getitem__
        await send_for(server, users, WARM_UP_SECONDS, room_of, message)
        before = await written(database)
        measured = [await send_for(server, users, seconds, room_of, message) for _ in range(runs)]
        after = await written(database)
        count = sum(len(run.latencies_ms) for run in measured)
        report(
            name, measured, *((new - old) / count for new, old in zip(after, before, strict=True))
        )

    await measure_room("small room", small_room)
    await measure_room("large room", room)
    encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
    await users[0].call("PUT", f"rooms/{quote(room, safe='')}/state/m.room.encryption/", encryption)
    await measure_room("large encrypted room", room, encrypted)
    await database.close()


def encrypted(user: User, room: str, txn_id: str) -> bytes:
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": "A" * CIPHERTEXT_CHARACTERS,
        "session_id": "B" * 43,
    }
    return user.event(room, "m.room.encrypted", txn_id, content)


async def written(database: asyncpg.Connection) -> Written:
    """Return what has been written when all of it is counted."""
    await asyncio.sleep(COUNTED_SECONDS)
    wal_bytes = await database.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'")
    rows = await database.fetchval(
        "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
    )
    return Written(int(wal_bytes), int(rows))


def report(name: str, runs: Sequence[Run], wal_bytes: float, rows: float) -> None:
    budget = "" if name == "small room" else "as the small room"
    say(f"{name}: CPU of a send", "ms", [run.cpu_ms for run in runs], budget)
    say(f"{name}: rows of a send", "rows", [rows], budget)
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
