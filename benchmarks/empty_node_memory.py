"""Memory of a node that has just answered its first requests, without its PostgreSQL.

python -m benchmarks.empty_node_memory [--runs 3]
"""

from benchmarks.support.http_client import User
from benchmarks.support.processes import Memory, memory_of
from benchmarks.support.report import say
from benchmarks.support.server import options, run, running_server
from tests.support.processes import ServerProcess

_MB = 10**6


async def use(server: ServerProcess) -> None:
    alice = await User.register(server.port, "alice")
    room = await alice.creates_room()
    await alice.connection.send(alice.message(room, "t1"))
    await alice.next_batch()


def measure() -> tuple[Memory, Memory]:
    with running_server() as server:
        at_start = memory_of(server.pid)
        run(use, server)
        return at_start, memory_of(server.pid)


if __name__ == "__main__":
    measured = [measure() for _ in range(options(__doc__, runs=3).runs)]
    resident = [used.resident / _MB for _, used in measured]
    say("resident, after a few requests", "MB", resident, "≤ 100 MB")
    say("  before them", "MB", [started.resident / _MB for started, _ in measured])
    say("  of its own", "MB", [used.own / _MB for _, used in measured])
