"""Incremental /sync with nothing new, of users who are in 20 rooms each.

python -m benchmarks.idle_sync [--runs 5] [--seconds 1] [--rooms 20]
"""

import asyncio
import json
import time
from collections.abc import Sequence

from benchmarks.support.http_client import User
from benchmarks.support.processes import CpuSeconds
from benchmarks.support.report import percentile, say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.processes import ServerProcess

USERS = 16


async def measure(server: ServerProcess, runs: int, seconds: float, room_count: int) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(USERS)]
    for _ in range(room_count):
        room = await users[0].creates_room()
        for user in users[1:]:
            await user.joins(room)
    await sync_for(server, users, seconds)
    cpu, postgres, rates, p50, p95 = [], [], [], [], []
    for _ in range(runs):
        used, latencies = await sync_for(server, users, seconds)
        cpu.append(used.total * 1000 / len(latencies))
        postgres.append(used.postgres * 1000 / len(latencies))
        rates.append(len(latencies) / seconds)
        p50.append(percentile(latencies, 50))
        p95.append(percentile(latencies, 95))
    say("CPU of a sync", "ms", cpu, "≤ 0.3 ms")
    say("  of it PostgreSQL", "ms", postgres)
    say("rate", "/s", rates)
    say("latency p50", "ms", p50)
    say("latency p95", "ms", p95)


async def sync_for(
    server: ServerProcess, users: Sequence[User], seconds: float
) -> tuple[CpuSeconds, list[float]]:
    """Let each user sync again and again; return the CPU used and the latencies in ms."""
    latencies: list[float] = []
    requests = [user.sync(await user.next_batch()) for user in users]
    before, end = cpu_of(server), time.perf_counter() + seconds

    async def sync(user: User, request: bytes) -> None:
        while (asked_at := time.perf_counter()) < end:
            answer = await user.connection.send(request)
            latencies.append((user.connection.answered_at - asked_at) * 1000)
        assert "rooms" not in json.loads(answer)

    await asyncio.gather(*map(sync, users, requests))
    return cpu_of(server).since(before), latencies


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, seconds=1.0, rooms=20)
    with running_server() as server:
        run(measure, server, chosen.runs, chosen.seconds, chosen.rooms)
