"""Messages of a single sender, one after the other.

python -m benchmarks.send_one_at_a_time [--runs 5] [--seconds 1]
"""

from benchmarks.support.http_client import User
from benchmarks.support.sending import measure_sends, report_sends
from benchmarks.support.server import options, run, running_server
from tests.support.processes import ServerProcess


async def measure(server: ServerProcess, runs: int, seconds: float) -> None:
    user = await User.register(server.port, "alice")
    room = await user.creates_room()
    measured = await measure_sends(server, [user], lambda _: room, runs=runs, seconds=seconds)
    report_sends(measured, p50_budget="≤ 1.5 ms")


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, seconds=1.0)
    with running_server() as server:
        run(measure, server, chosen.runs, chosen.seconds)
