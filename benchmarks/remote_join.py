"""Joining a large room of another server.

    python -m benchmarks.remote_join [--runs 3] [--members 5000]

Both servers are in this process: the CPU of a join is that of both. Cycles are looked for as
seldom as in a server of its own: with the interpreter's settings one search, of 200 ms in a process
as large as this one, meets every join.
"""

import asyncio
import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.filling import fill_room
from benchmarks.support.processes import cpu_seconds
from benchmarks.support.report import say
from benchmarks.support.server import options, run
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.state_at_join import StatesAtJoin
from homeserver.run.lifecycle import GC_THRESHOLDS
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer, named_server

# In the same process followers are busy with the members that have come: the least counts.
_ANSWERS = 10


async def measure(
    databases: Sequence[EmbeddedPostgres], folder: Path, runs: int, members: int
) -> None:
    dsn, other_dsn = [await asyncio.to_thread(each.start) for each in databases]
    authority = Authority(folder)
    async with contextlib.AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(named_server(authority, each, folder / name))
            for each, name in ((dsn, "one"), (other_dsn, "other"))
        ]
        clients = await stack.enter_async_context(clients_of(other.url))
        joiner = await clients.user("joiner")
        until_sent, until_whole, cpu, postgres_cpu, answer_cpu = [], [], [], [], []
        for number in range(runs + 1):
            # The first run warms up.
            room_id = await fill_room(one.running.rooms, one.name, members, f"r{number}_")
            postgres_before = _postgres_cpu(databases)
            before, started = time.process_time(), time.perf_counter()
            await _joins_and_talks(joiner, one, room_id)
            until_sent.append((time.perf_counter() - started) * 1000)
            await other.running.parts.memberships.completion.attempted(room_id)
            head = await other.running.rooms.heads.head(room_id)
            assert head is not None
            assert head.joined == members + 1, "members are missing"
            until_whole.append(time.perf_counter() - started)
            cpu.append(time.process_time() - before)
            postgres_cpu.append(_postgres_cpu(databases) - postgres_before)
            answer_cpu.append(await _answer_cpu_ms(one, joiner, room_id))
    say("Until the user has talked", "ms", until_sent[1:], "≤ 300 ms")
    say("Until all members are known", "s", until_whole[1:])
    say("CPU of both servers until then", "s", cpu[1:], "≤ 1 s")
    say("CPU of both PostgreSQLs until then", "s", postgres_cpu[1:])
    say("CPU of putting the answer together", "ms", answer_cpu[1:], "≤ 25 ms")


def _postgres_cpu(databases: Sequence[EmbeddedPostgres]) -> float:
    return sum(cpu_seconds(os.getpid(), each.pid).postgres for each in databases if each.pid)


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
        with contextlib.ExitStack() as stack:
            both = [EmbeddedPostgres(folder / f"postgres_{name}") for name in ("one", "other")]
            for postgres in both:
                stack.callback(postgres.stop)
            gc.set_threshold(*GC_THRESHOLDS)
            run(measure, both, folder, chosen.runs, chosen.members)
