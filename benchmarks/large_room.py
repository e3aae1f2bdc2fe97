"""A room with thousands of local members: sending into it, and joining it.

python -m benchmarks.large_room [members]
"""

import asyncio
import sys
import time

import uvloop

from benchmarks.send import SENDERS, run
from benchmarks.support.client import RawClient
from benchmarks.support.report import report
from benchmarks.support.server import Program, running_program

GROUPS = 5


async def join(program: Program, room_id: str, names: list[str]) -> None:
    """Register users and have them join."""
    async with RawClient(program.host, program.port) as client:
        for name in names:
            await client.register(name)
            await client.request("POST", f"rooms/{room_id}/join", b"{}")


async def main() -> None:
    """Fill a room, then send into it as into any other."""
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with running_program() as program:
        async with RawClient(program.host, program.port) as client:
            await client.register("sender")
            room = await client.call("POST", "createRoom", {"preset": "public_chat"})
            room_id = room["room_id"].replace("!", "%21")
            costs = []
            names = [f"member{number}" for number in range(members)]
            for group in range(GROUPS):
                part = names[group::GROUPS]
                cpu = program.cpu_seconds()
                await asyncio.gather(
                    *(join(program, room_id, part[each::16]) for each in range(16))
                )
                costs.append((program.cpu_seconds() - cpu) / len(part) * 1000)
            report("registering (bcrypt cost 4) and joining: CPU", "ms", costs, "-")
            print(f"-- a room of {members + 1} members; budget: as in a small room")
            await run(program, client.token, [room_id], SENDERS, 3_000)
            began = time.perf_counter()
            found = await client.call("GET", f"rooms/{room_id}/members")
            report("/members", "ms", [(time.perf_counter() - began) * 1000], "-")
            assert len(found["chunk"]) == members + 1


if __name__ == "__main__":
    uvloop.run(main())
