"""Joining a large room of another server.

    python -m benchmarks.remote_join [--runs 3] [--members 5000]

Both servers are in this process: the CPU of a join is that of both.
"""

import contextlib
import tempfile
import time
from pathlib import Path

from benchmarks.support.filling import fill_room
from benchmarks.support.report import say
from benchmarks.support.server import options, run
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.state_at_join import StatesAtJoin
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer, named_server

# In the same process followers are busy with the members that have come: the least counts.
_ANSWERS = 10


async def measure(dsn: str, other_dsn: str, folder: Path, runs: int, members: int) -> None:
    authority = Authority(folder)
    async with contextlib.AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(named_server(authority, each, folder / name))
            for each, name in ((dsn, "one"), (other_dsn, "other"))
        ]
        clients = await stack.enter_async_context(clients_of(other.url))
        joiner = await clients.user("joiner")
        until_sent, until_whole, cpu, answer_cpu = [], [], [], []
        for number in range(runs + 1):
            # The first run warms up.
            room_id = await fill_room(one.running.rooms, one.name, members, f"r{number}_")
            before, started = time.process_time(), time.perf_counter()
            await _joins_and_talks(joiner, one, room_id)
            until_sent.append((time.perf_counter() - started) * 1000)
            await other.running.parts.memberships.completion.attempted(room_id)
            head = await other.running.rooms.heads.head(room_id)
            assert head is not None
            assert head.joined == members + 1, "members are missing"
            until_whole.append(time.perf_counter() - started)
            cpu.append(time.process_time() - before)
            answer_cpu.append(await _answer_cpu_ms(one, joiner, room_id))
    say("Until the user has talked", "ms", until_sent[1:], "≤ 300 ms")
    say("Until all members are known", "s", until_whole[1:])
    say("CPU of both servers until then", "s", cpu[1:], "≤ 1 s")
    say("CPU of putting the answer together", "ms", answer_cpu[1:], "≤ 25 ms")


async def _joins_and_talks(joiner: Client, one: NamedServer, room_id: RoomID) -> None:
    await joiner.post(f"join/{room_id}", {}, via=one.name)
    await joiner.sends(room_id, "Hello")


async def _answer_cpu_ms(one: NamedServer, joiner: Client, room_id: RoomID) -> float:
    """Ask again for what the joining server was told."""
    running = one.running
    head = await running.rooms.heads.head(room_id)
    assert head is not None
    join = head.state["m.room.member", joiner.user_id]
    facts = (await running.receiving.known.facts([join.event_id]))[join.event_id]
    states = StatesAtJoin(running.base.database, running.receiving.states)
    taken = []
    for _ in range(_ANSWERS):
        before = time.process_time()
        await states.without_members(facts, head)
        taken.append((time.process_time() - before) * 1000)
    return min(taken)


if __name__ == "__main__":
    chosen = options(__doc__, runs=3, members=5000)
    with tempfile.TemporaryDirectory() as data_dir:
        folder = Path(data_dir)
        folder.chmod(0o755)
        with contextlib.ExitStack() as databases:
            dsns = []
            for name in ("one", "other"):
                postgres = EmbeddedPostgres(folder / f"postgres_{name}")
                databases.callback(postgres.stop)
                dsns.append(postgres.start())
            run(measure, *dsns, folder, chosen.runs, chosen.members)
