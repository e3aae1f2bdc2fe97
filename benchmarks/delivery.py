"""Delivery: one message to 200 waiting syncs; and an incremental sync with nothing new.

python -m benchmarks.delivery [waiting users]
"""

import asyncio
import sys
import time

import uvloop

from benchmarks.support.client import RawClient
from benchmarks.support.report import percentile, report
from benchmarks.support.server import Program, running_program

MESSAGES = 10
IDLE_SYNCS = 2_000


class Listener:
    """A user who waits for what is new in a room."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._since = ""

    async def begin(self, name: str, room_id: str) -> None:
        """Join and make the initial sync."""
        await self._client.register(name)
        await self._client.request("POST", f"rooms/{room_id}/join", b"{}")
        self._since = (await self._client.call("GET", "sync"))["next_batch"]

    async def catch_up(self) -> None:
        """Take what has come in the meantime."""
        answer = await self._client.call("GET", f"sync?since={self._since}")
        self._since = answer["next_batch"]

    async def wait(self) -> float:
        """Wait for the next message; return when it came."""
        path = f"sync?since={self._since}&timeout=30000"
        answer = await self._client.request("GET", path)
        arrived = time.perf_counter()
        # The token stands first in the answer.
        self._since = answer[15 : answer.index(b'"', 15)].decode()
        return arrived


async def deliver(program: Program, client: RawClient, room_id: str, waiting: int) -> None:
    """Measure deliveries to many."""
    connections = [RawClient(program.host, program.port) for _ in range(waiting)]
    await asyncio.gather(*(each.__aenter__() for each in connections))
    listeners = [Listener(each) for each in connections]
    for first in range(0, waiting, 20):
        group = enumerate(listeners[first : first + 20], start=first)
        await asyncio.gather(*(each.begin(f"listener{n}", room_id) for n, each in group))
    await asyncio.gather(*(each.catch_up() for each in listeners))
    costs, tails = [], []
    for number in range(MESSAGES):
        waits = [asyncio.ensure_future(each.wait()) for each in listeners]
        await asyncio.sleep(0.5)
        cpu, began = program.cpu_seconds(), time.perf_counter()
        path = f"rooms/{room_id}/send/m.room.message/d{number}"
        await client.request("PUT", path, b'{"msgtype":"m.text","body":"hello"}')
        arrived = await asyncio.gather(*waits)
        costs.append((program.cpu_seconds() - cpu) / waiting * 1000)
        tails.append(percentile([each - began for each in arrived], 0.95) * 1000)
    report(f"send to {waiting} waiting syncs: CPU each", "ms", costs, "0.15")
    report(f"send to {waiting} waiting syncs: p95", "ms", tails, "100")
    for each in connections:
        await each.__aexit__(None, None, None)


async def idle(program: Program, client: RawClient) -> None:
    """Measure incremental syncs with nothing new, over one connection."""
    since = (await client.call("GET", "sync"))["next_batch"]
    costs = []
    for _ in range(5):
        cpu = program.cpu_seconds()
        for _ in range(IDLE_SYNCS):
            await client.request("GET", f"sync?since={since}")
        costs.append((program.cpu_seconds() - cpu) / IDLE_SYNCS * 1000)
    report("incremental sync, nothing new: CPU", "ms", costs, "0.3")


async def main() -> None:
    """Run both rows."""
    waiting = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with running_program() as program:
        async with RawClient(program.host, program.port) as client:
            await client.register("sender")
            room = await client.call("POST", "createRoom", {"preset": "public_chat"})
            room_id = room["room_id"].replace("!", "%21")
            await deliver(program, client, room_id, waiting)
            await idle(program, client)


if __name__ == "__main__":
    uvloop.run(main())
