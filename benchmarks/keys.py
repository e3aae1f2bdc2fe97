"""keys/query for 1,000 devices, and 10,000 claims of one-time keys by 50 clients at once.

    python -m benchmarks.keys [--runs 5] [--users 100] [--claims 10000]

Every user has ten devices, signed by the user. No key may be given away twice.
"""

import asyncio
import json
import time

from benchmarks.support.http_client import Connection, User, request
from benchmarks.support.report import percentile, say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.key_uploads import CrossSigner
from tests.support.olm import OlmDevice
from tests.support.processes import ServerProcess

DEVICES = 10
CLAIMERS = 50
# A device may have a thousand one-time keys.
KEYS_OF_A_DEVICE = 1_000
# CPU time is counted in ticks of 10 ms, so a run asks several times.
ASKED = 5


async def measure(server: ServerProcess, runs: int, users: int, claims: int) -> None:
    made = [await make_user(server.port, number) for number in range(users)]
    await measure_query(server, made, runs)
    await measure_claims(server, made[0], claims)


async def make_user(port: int, number: int) -> User:
    """Make a user with ten devices and cross-signing keys."""
    user = await User.register(port, f"user{number}")
    signer = CrossSigner(user.user_id)
    await user.call("POST", "keys/device_signing/upload", signer.keys)
    identifier = {"type": "m.id.user", "user": user.user_id}
    login = {"type": "m.login.password", "identifier": identifier, "password": "wordpass"}
    for device_id in (f"DEVICE{device}" for device in range(DEVICES)):
        body = {**login, "device_id": device_id}
        session = json.loads(await user.connection.send(request("POST", "login", body=body)))
        keys = signer.signs_device(OlmDevice(user.user_id, device_id).device_keys())
        upload = request("POST", "keys/upload", session["access_token"], {"device_keys": keys})
        await user.connection.send(upload)
    return user


async def measure_query(server: ServerProcess, users: list[User], runs: int) -> None:
    wanted: dict[str, list[str]] = {user.user_id: [] for user in users}
    asked = request("POST", "keys/query", users[0].token, {"device_keys": wanted})
    cpu, seconds, size = [], [], 0
    for _ in range(runs + 1):
        before, began = cpu_of(server), time.perf_counter()
        for _ in range(ASKED):
            size = len(await users[0].connection.send(asked))
        seconds.append((time.perf_counter() - began) * 1000 / ASKED)
        cpu.append(cpu_of(server).since(before).total * 1000 / ASKED)
    say(f"keys/query, {len(users) * DEVICES:,} devices: CPU ({size:,} bytes)", "ms", cpu[1:])
    say("  its time to answer", "ms", seconds[1:])


async def measure_claims(server: ServerProcess, user: User, claims: int) -> None:
    targets = [
        await make_keys(server.port, number, KEYS_OF_A_DEVICE)
        for number in range(-(-claims // KEYS_OF_A_DEVICE))
    ]
    queue = [targets[number % len(targets)] for number in range(claims)]
    given: list[str] = []
    waited: list[float] = []

    async def claimer() -> None:
        connection = await Connection.open(server.port)
        while queue:
            user_id, device_id = queue.pop()
            wanted = {user_id: {device_id: "signed_curve25519"}}
            asked = request("POST", "keys/claim", user.token, {"one_time_keys": wanted})
            began = time.perf_counter()
            answer = json.loads(await connection.send(asked))
            waited.append((time.perf_counter() - began) * 1000)
            (name,) = answer["one_time_keys"][user_id][device_id]
            given.append(f"{user_id} {name}")
        connection.close()

    before, began = cpu_of(server), time.perf_counter()
    await asyncio.gather(*(claimer() for _ in range(CLAIMERS)))
    seconds, cpu = time.perf_counter() - began, cpu_of(server).since(before).total
    assert len(given) == len(set(given)) == claims, "a key was given away twice"
    say(f"{claims:,} claims by {CLAIMERS} clients", "/s", [claims / seconds])
    say("  CPU of a claim", "ms", [cpu * 1000 / claims])
    say("  time to answer, p50", "ms", [percentile(waited, 50)])
    say("  time to answer, p95", "ms", [percentile(waited, 95)])


async def make_keys(port: int, number: int, count: int) -> tuple[str, str]:
    """Make a device with one-time keys, and return its user and its ID."""
    user = await User.register(port, f"claimed{number}")
    device_id: str = (await user.call("GET", "account/whoami"))["device_id"]
    device = OlmDevice(user.user_id, device_id)
    await user.call("POST", "keys/upload", {"device_keys": device.device_keys()})
    for _ in range(count // 50):
        await user.call("POST", "keys/upload", {"one_time_keys": device.one_time_keys(50)})
    return user.user_id, device_id


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, users=100, claims=10_000)
    with running_server() as server:
        run(measure, server, chosen.runs, chosen.users, chosen.claims)
