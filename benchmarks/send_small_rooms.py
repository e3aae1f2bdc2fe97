"""Messages of 32 senders at once into 50 small rooms.

    python -m benchmarks.send_small_rooms [--runs 5] [--seconds 2]

Each sender waits for one acknowledgment before it sends the next message.
"""

import random

from benchmarks.support.http_client import User
from benchmarks.support.sending import measure_sends, report_sends
from benchmarks.support.server import options, run, running_server
from tests.support.processes import ServerProcess

SENDERS = 32
ROOMS = 50
MEMBERS = 8


async def measure(server: ServerProcess, runs: int, seconds: float) -> None:
    users = [await User.register(server.port, f"user{number}") for number in range(SENDERS)]
    rooms: dict[str, list[str]] = {user.user_id: [] for user in users}
    for number in range(ROOMS):
        members = [users[(number * 3 + offset) % SENDERS] for offset in range(MEMBERS)]
        room = await members[0].creates_room()
        rooms[members[0].user_id].append(room)
        for user in members[1:]:
            await user.joins(room)
            rooms[user.user_id].append(room)

    def any_room(user: User) -> str:
        return random.choice(rooms[user.user_id])

    measured = await measure_sends(server, users, any_room, runs=runs, seconds=seconds)
    report_sends(measured, cpu_budget="≤ 0.5 ms", rate_budget="≥ 2,000 /s")


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, seconds=2.0)
    with running_server() as server:
        run(measure, server, chosen.runs, chosen.seconds)
