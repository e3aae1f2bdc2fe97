"""Making rooms and joining them.

python -m benchmarks.rooms [--runs 5] [--users 100]
"""

import asyncio
import time

from benchmarks.support.http_client import User
from benchmarks.support.report import say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.processes import ServerProcess


async def measure(server: ServerProcess, runs: int, count: int) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(count)]
    create_cpu, create_ms, join_cpu, join_ms = [], [], [], []
    for _ in range(runs + 1):
        before, started = cpu_of(server), time.perf_counter()
        room, *_ = [await user.creates_room() for user in users]
        between, made = cpu_of(server), time.perf_counter()
        await asyncio.gather(*(user.joins(room) for user in users[1:]))
        create_cpu.append(between.since(before).total * 1000 / count)
        create_ms.append((made - started) * 1000 / count)
        join_cpu.append(cpu_of(server).since(between).total * 1000 / (count - 1))
        join_ms.append((time.perf_counter() - made) * 1000 / (count - 1))
    # The first run warms up.
    say("createRoom: CPU", "ms", create_cpu[1:], "≤ 6 ms")
    say("createRoom, one at a time", "ms", create_ms[1:])
    say("local join: CPU", "ms", join_cpu[1:], "≤ 1.5 ms")
    say("local join, all at once", "ms each", join_ms[1:])


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, users=100)
    with running_server() as server:
        run(measure, server, chosen.runs, chosen.users)
