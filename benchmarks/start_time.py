"""From the command to the first answer: an empty folder, a filled one, and after a crash.

    python -m benchmarks.start_time [--runs 3] [--members 1000]

"Filled" holds a room of so many members with as many joins; "after a crash" both the server and
PostgreSQL were killed.
"""

import time

from benchmarks.support.filling import make_room
from benchmarks.support.http_client import Connection, request
from benchmarks.support.report import say
from benchmarks.support.server import options, run, stopped_server
from tests.support.processes import ServerProcess


async def ask(server: ServerProcess) -> None:
    connection = await Connection.open(server.port)
    await connection.send(request("GET", "/_matrix/client/versions"))
    connection.close()


def seconds_to_the_first_answer(server: ServerProcess) -> float:
    started = time.perf_counter()
    server.start()
    run(ask, server)
    return time.perf_counter() - started


def start_empty() -> float:
    with stopped_server() as (server, _):
        return seconds_to_the_first_answer(server)


def start_filled(runs: int, members: int) -> tuple[list[float], list[float]]:
    with stopped_server() as (server, data_dir):
        make_room(data_dir, members)
        filled, crashed = [], []
        for _ in range(runs):
            filled.append(seconds_to_the_first_answer(server))
            server.kill()
            server.kill_postgres()
            crashed.append(seconds_to_the_first_answer(server))
            server.stop()
        return filled, crashed


if __name__ == "__main__":
    chosen = options(__doc__, runs=3, members=1000)
    budget = "≤ 2.5 s"
    say("empty folder", "s", [start_empty() for _ in range(chosen.runs)], budget)
    filled, crashed = start_filled(chosen.runs, chosen.members)
    say("filled folder", "s", filled, budget)
    say("filled folder, after a crash", "s", crashed)
