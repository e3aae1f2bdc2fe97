"""Starting: time to the first answer, empty and filled; memory of an empty node.

python -m benchmarks.start
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.support.client import RawClient
from benchmarks.support.report import report
from benchmarks.support.server import Program, running_program

RUNS = 5


async def fill(program: Program) -> None:
    """Leave something in the database."""
    async with RawClient(program.host, program.port) as client:
        await client.register("somebody")
        for _ in range(50):
            await client.call("POST", "createRoom", {"preset": "public_chat"})


async def first_answer(program: Program) -> None:
    """Ask something that needs the database."""
    async with RawClient(program.host, program.port) as client:
        await client.request("GET", "register/available?username=nobody")


def main() -> None:
    """Start the program again and again."""
    empty, filled, memory = [], [], []
    for _ in range(RUNS):
        with running_program() as program:
            asyncio.run(first_answer(program))
            empty.append(program.start_seconds)
            memory.append(program.server_memory_mb())
    with tempfile.TemporaryDirectory(prefix="homeserver-bench-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "data"
        with running_program(home) as program:
            asyncio.run(fill(program))
        for _ in range(RUNS):
            with running_program(home) as program:
                asyncio.run(first_answer(program))
                filled.append(program.start_seconds)
    report("start with an empty database, to the first answer", "s", empty, "2.5")
    report("start with a filled database", "s", filled, "2.5")
    report("memory of an empty node, without PostgreSQL", "MB", memory, "100")


if __name__ == "__main__":
    main()
