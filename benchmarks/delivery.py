"""A message on its way to 200 members of a room who all wait in /sync.

    python -m benchmarks.delivery [--rounds 30] [--members 200]

CPU counts from the send to the last answer; that of a whole round also has the next 200 requests
that begin to wait.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.support.http_client import User
from benchmarks.support.report import percentile, say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.processes import ServerProcess

WAIT_MS = 30_000
# Nothing tells when all requests wait; this is long enough for the server to have seen them.
SETTLE_SECONDS = 0.25
WARM_UP_ROUNDS = 5
# CPU time is counted in ticks of 10 ms, so rounds are put together.
ROUNDS_PER_RUN = 5


class Round(NamedTuple):
    latencies_ms: Sequence[float]
    delivery_cpu: float
    whole_cpu: float


async def measure(server: ServerProcess, rounds: int, members: int) -> None:
    sender = await User.register(server.port, "sender")
    room = await sender.creates_room()
    readers = []
    for number in range(members):
        readers.append(await User.register(server.port, f"reader{number}"))
        await readers[-1].joins(room)
    tokens = [await reader.next_batch() for reader in readers]
    measured = []
    for number in range(rounds + WARM_UP_ROUNDS):
        one, tokens = await deliver(server, sender, room, readers, tokens, number)
        measured.append(one)
    report(measured[WARM_UP_ROUNDS:], members)


async def deliver(
    server: ServerProcess,
    sender: User,
    room: str,
    readers: Sequence[User],
    tokens: Sequence[str],
    number: int,
) -> tuple[Round, list[str]]:
    """Let all readers wait, send a message, and see it arrive at each of them."""
    begun = cpu_of(server)
    waiting = [
        reader.connection.send(reader.sync(token, WAIT_MS))
        for reader, token in zip(readers, tokens, strict=True)
    ]
    await asyncio.sleep(SETTLE_SECONDS)
    before, sent_at = cpu_of(server), time.perf_counter()
    await sender.connection.send(sender.message(room, f"t{number}", f"message {number}"))
    answers = [json.loads(body) for body in await asyncio.gather(*waiting)]
    after = cpu_of(server)
    for answer in answers:
        [event] = answer["rooms"]["join"][room]["timeline"]["events"]
        assert event["content"]["body"] == f"message {number}"
    latencies = [(reader.connection.answered_at - sent_at) * 1000 for reader in readers]
    one = Round(latencies, after.since(before).total, after.since(begun).total)
    return one, [answer["next_batch"] for answer in answers]


def report(rounds: Sequence[Round], members: int) -> None:
    runs = [rounds[n : n + ROUNDS_PER_RUN] for n in range(0, len(rounds), ROUNDS_PER_RUN)]

    def each_ms(seconds: Sequence[float]) -> float:
        return sum(seconds) * 1000 / len(seconds) / members

    cpu = [each_ms([one.delivery_cpu for one in run]) for run in runs]
    say("CPU of a delivery", "ms", cpu, "≤ 0.15 ms")
    say("  with the next wait", "ms", [each_ms([one.whole_cpu for one in run]) for run in runs])
    latencies = [[latency for one in run for latency in one.latencies_ms] for run in runs]
    say("send to answer p50", "ms", [percentile(each, 50) for each in latencies])
    say("send to answer p95", "ms", [percentile(each, 95) for each in latencies], "≤ 100 ms")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=30, members=200)
    with running_server() as server:
        run(measure, server, chosen.rounds, chosen.members)
