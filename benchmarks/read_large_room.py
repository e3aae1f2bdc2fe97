"""Reading a room of 5,000 local members: /members, an initial /sync, 50 /messages.

python -m benchmarks.read_large_room [--runs 5] [--members 5000]
"""

from urllib.parse import quote

from benchmarks.support.filling import make_room
from benchmarks.support.http_client import User, request
from benchmarks.support.report import say
from benchmarks.support.server import cpu_of, options, run, stopped_server
from tests.support.processes import ServerProcess

# CPU time is counted in ticks of 10 ms, so a run asks several times.
ASKED = 10


async def measure(server: ServerProcess, room_id: str, runs: int) -> None:
    user = await User.register(server.port, "user1")
    room = f"rooms/{quote(room_id, safe='')}"
    for number in range(60):
        await user.connection.send(user.message(room_id, f"t{number}"))
    for name, path, budget in (
        ("/members", f"{room}/members", "≤ 20 ms"),
        ("full /sync", "sync", "≤ 40 ms"),
        ("/messages of 50", f"{room}/messages?dir=b&limit=50", "≤ 3 ms"),
    ):
        asked = request("GET", path, user.token)
        figures, size = [], 0
        for _ in range(runs + 1):
            before = cpu_of(server)
            for _ in range(ASKED):
                size = len(await user.connection.send(asked))
            figures.append(cpu_of(server).since(before).total * 1000 / ASKED)
        say(f"{name}: CPU ({size:,} bytes)", "ms", figures[1:], budget)


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, members=5000)
    with stopped_server() as (server, data_dir):
        room_id = make_room(data_dir, chosen.members)
        server.start()
        run(measure, server, room_id, chosen.runs)
