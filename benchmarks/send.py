"""`PUT …/send`: 32 senders into 50 rooms, and one at a time.

python -m benchmarks.send [messages a run]
"""

import asyncio
import itertools
import sys
import time

import uvloop

from benchmarks.support.client import RawClient
from benchmarks.support.report import percentile, report
from benchmarks.support.server import Program, running_program

ROOMS = 50
SENDERS = 32
RUNS = 5
BODY = b'{"msgtype":"m.text","body":"A message of an everyday length, as people send them."}'

_numbers = itertools.count()


async def send(client: RawClient, room_id: str, seconds: list[float]) -> None:
    """Send one message and note how long the answer took."""
    began = time.perf_counter()
    await client.request("PUT", f"rooms/{room_id}/send/m.room.message/t{next(_numbers)}", BODY)
    seconds.append(time.perf_counter() - began)


async def sender(program: Program, token: str, rooms: list[str], count: int) -> list[float]:
    """Send messages into rooms in turn, over one connection."""
    seconds: list[float] = []
    async with RawClient(program.host, program.port, token) as client:
        for number in range(count):
            await send(client, rooms[(number * 7 + len(seconds)) % len(rooms)], seconds)
    return seconds


async def run(program: Program, token: str, rooms: list[str], senders: int, total: int) -> None:
    """Measure several runs of a number of senders."""
    rates, costs, medians, tails = [], [], [], []
    await sender(program, token, rooms, 100)
    for _ in range(RUNS):
        cpu, began = program.cpu_seconds(), time.perf_counter()
        answers = await asyncio.gather(
            *(
                sender(program, token, rooms[each:] + rooms[:each], total // senders)
                for each in range(senders)
            )
        )
        elapsed = time.perf_counter() - began
        seconds = [each for answer in answers for each in answer]
        rates.append(len(seconds) / elapsed)
        costs.append((program.cpu_seconds() - cpu) / len(seconds) * 1000)
        medians.append(percentile(seconds, 0.5) * 1000)
        tails.append(percentile(seconds, 0.95) * 1000)
    name = f"send, {senders} in flight"
    report(f"{name}: CPU of server and PostgreSQL", "ms", costs, "0.5" if senders > 1 else "-")
    report(f"{name}: rate", "/s", rates, "2,000" if senders > 1 else "-")
    report(f"{name}: p50", "ms", medians, "-" if senders > 1 else "1.5")
    report(f"{name}: p95", "ms", tails, "-")


async def main() -> None:
    """Run both rows."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    with running_program() as program:
        async with RawClient(program.host, program.port) as client:
            await client.register("sender")
            rooms = []
            for _ in range(ROOMS):
                room = await client.call("POST", "createRoom", {"preset": "public_chat"})
                rooms.append(room["room_id"].replace("!", "%21"))
            await run(program, client.token, rooms, SENDERS, total)
            await run(program, client.token, rooms, 1, total // 8)


if __name__ == "__main__":
    uvloop.run(main())
