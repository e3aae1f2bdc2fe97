"""From a message to the push gateway, and what that costs.

    python -m benchmarks.push [--rounds 200] [--runs 3]

First one message at a time: from the request to the notification at the gateway, which is a TLS
server on loopback. CPU is that of a message with its push, and without.
"""

import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.support.http_client import User
from benchmarks.support.report import percentile, say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.certificates import Authority
from tests.support.processes import ServerProcess
from tests.support.push_gateway import PushGateway, push_gateway

WARM_UP = 20
SETTINGS = {
    "OUTGOING_HTTP_ALLOWED_IP_RANGES": '["127.0.0.0/8"]',
    "OUTGOING_HTTP_VERIFY_TLS": "false",
}
_txn_ids = (f"t{number}" for number in itertools.count())


async def measure(server: ServerProcess, rounds: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with push_gateway(Authority(Path(folder))) as gateway:
            sender = await User.register(server.port, "sender")
            reader = await User.register(server.port, "reader")
            room = await sender.creates_room()
            await reader.joins(room)
            without = [await send(server, sender, room, rounds, None) for _ in range(runs)]
            await reader.call("POST", "pushers/set", gateway.pusher())
            await send(server, sender, room, WARM_UP, gateway)
            pushed = [await send(server, sender, room, rounds, gateway) for _ in range(runs)]
    say("send to gateway p50", "ms", [percentile(each, 50) for each, _ in pushed])
    say("send to gateway p95", "ms", [percentile(each, 95) for each, _ in pushed])
    say("send to answer p50, without a push", "ms", [percentile(each, 50) for each, _ in without])
    say("CPU of a message with its push", "ms", [cpu_ms for _, cpu_ms in pushed])
    say("CPU of a message without", "ms", [cpu_ms for _, cpu_ms in without])


async def send(
    server: ServerProcess, sender: User, room: str, count: int, gateway: PushGateway | None
) -> tuple[list[float], float]:
    """Send messages one by one; return how long each took, and the CPU time of one, in ms."""
    latencies = []
    before = cpu_of(server)
    for _ in range(count):
        begun = time.perf_counter()
        await sender.connection.send(sender.message(room, next(_txn_ids)))
        if gateway is not None:
            await gateway.next()
        latencies.append((time.perf_counter() - begun) * 1000)
    return latencies, cpu_of(server).since(before).total * 1000 / count


if __name__ == "__main__":
    chosen = options(__doc__, rounds=200, runs=3)
    with running_server(SETTINGS) as server:
        run(measure, server, chosen.rounds, chosen.runs)
