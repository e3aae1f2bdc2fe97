"""Sending messages from many connections, and what that costs."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.support.http_client import User
from benchmarks.support.processes import CpuSeconds
from benchmarks.support.report import percentile, say
from benchmarks.support.server import cpu_of
from tests.support.processes import ServerProcess

_txn_ids = (f"t{number}" for number in itertools.count())
# Begins before what is measured: caches, prepared statements, the first blocks of numbers.
WARM_UP_SECONDS = 1.0


class Run(NamedTuple):
    """One run: how long each send took, and what all of them cost together."""

    seconds: float
    latencies_ms: Sequence[float]
    cpu: CpuSeconds

    @property
    def cpu_ms(self) -> float:
        return self.cpu.total * 1000 / len(self.latencies_ms)


async def send_for(
    server: ServerProcess,
    users: Sequence[User],
    seconds: float,
    room_of: Callable[[User], str],
    message: Callable[[User, str, str], bytes] = User.message,
) -> Run:
    """Let each user send one message after the other to the rooms that `room_of` names.

    `message` makes the request of a user, for a room and a transaction ID.
    """
    latencies: list[float] = []
    before, started = cpu_of(server), time.perf_counter()
    end = started + seconds

    async def send(user: User) -> None:
        while (sent_at := time.perf_counter()) < end:
            await user.connection.send(message(user, room_of(user), next(_txn_ids)))
            latencies.append((user.connection.answered_at - sent_at) * 1000)

    await asyncio.gather(*map(send, users))
    lasted = time.perf_counter() - started
    return Run(lasted, latencies, cpu_of(server).since(before))


async def measure_sends(
    server: ServerProcess,
    users: Sequence[User],
    room_of: Callable[[User], str],
    *,
    runs: int,
    seconds: float,
) -> list[Run]:
    """Warm up, then measure some runs."""
    await send_for(server, users, WARM_UP_SECONDS, room_of)
    return [await send_for(server, users, seconds, room_of) for _ in range(runs)]


def report_sends(
    runs: Sequence[Run], *, cpu_budget: str = "", rate_budget: str = "", p50_budget: str = ""
) -> None:
    """Print the figures of some runs."""
    say("CPU of a send", "ms", [run.cpu_ms for run in runs], cpu_budget)
    count = [len(run.latencies_ms) for run in runs]
    server = [run.cpu.server * 1000 / n for run, n in zip(runs, count, strict=True)]
    say("  of it the server", "ms", server)
    postgres = [run.cpu.postgres * 1000 / n for run, n in zip(runs, count, strict=True)]
    say("  of it PostgreSQL", "ms", postgres)
    rate = [len(run.latencies_ms) / run.seconds for run in runs]
    say("rate", "/s", rate, rate_budget)
    say("latency p50", "ms", [percentile(run.latencies_ms, 50) for run in runs], p50_budget)
    say("latency p95", "ms", [percentile(run.latencies_ms, 95) for run in runs])
