"""Sending to other servers: a room with many of them, and one that was away.

    python -m benchmarks.federation_out [--runs 3] [--servers 50] [--events 10000]

The other servers are in this process too: the CPU is that of both ends, TLS and signatures
included.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.report import say
from benchmarks.support.server import options, run
from homeserver.config.sections.logs import LoggingSection
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.telemetry.log import configure_logging
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer, named_server
from tests.support.peer_server import peer_server
from tests.support.remote_member import RemoteMember

# Messages of a run; each goes to every server.
_MESSAGES = 20
# Of what is sent while a server is away.
_SENDERS = 20
_LOOK_SECONDS = 0.01


async def measure(dsn: str, folder: Path, runs: int, servers: int, events: int) -> None:
    configure_logging(LoggingSection(format="json"), open("/dev/null", "w"))  # noqa: SIM115, PTH123
    authority = Authority(folder)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(named_server(authority, dsn, folder / "data"))
        clients = await stack.enter_async_context(clients_of(server.url))
        alice = await clients.user("alice")
        room_id = await alice.creates_room(preset="public_chat")
        members = [await _member(stack, authority, server, room_id) for _ in range(servers)]
        await measure_room(alice, room_id, members, runs)
        await measure_return(alice, room_id, members[0], runs, events)


async def measure_room(alice: Client, room_id: str, members: list[RemoteMember], runs: int) -> None:
    seconds, cpu = [], []
    for number in range(runs + 1):
        before, started = time.process_time(), time.perf_counter()
        for each in range(_MESSAGES):
            await alice.sends(room_id, f"{number} {each}")
        last = f"{number} {_MESSAGES - 1}"
        for member in members:
            await _has(member, last)
        seconds.append(time.perf_counter() - started)
        cpu.append((time.process_time() - before) * 1000 / (_MESSAGES * len(members)))
    # The first run warms up.
    say(f"{_MESSAGES} messages to {len(members)} servers", "s", seconds[1:])
    say("CPU of a message to a server", "ms", cpu[1:])


async def measure_return(
    alice: Client, room_id: str, member: RemoteMember, runs: int, events: int
) -> None:
    rates = []
    running = member.server.running
    for number in range(runs):
        member.is_down = True
        await _send_many(alice, room_id, [f"down {number} {each}" for each in range(events)])
        member.transactions.clear()
        # As after hours: what was sent is in the database alone.
        running.rooms.cache._forget_all()  # noqa: SLF001 - nobody else ever needs it
        member.is_down = False
        # It is not left alone any more.
        await running.federation.destinations.succeeded(member.peer.name)
        started = time.perf_counter()
        bodies = await _bodies_of(member, events)
        rates.append(events / (time.perf_counter() - started))
        assert bodies == await _sent_bodies(member, room_id, events), "not in order, or not once"
    say("Missed events a second to a server that is back", "", rates)


async def _send_many(alice: Client, room_id: str, bodies: Sequence[str]) -> None:
    waiting = iter(bodies)

    async def send() -> None:
        for body in waiting:
            await alice.sends(room_id, body)

    await asyncio.gather(*(send() for _ in range(_SENDERS)))


async def _bodies_of(member: RemoteMember, count: int) -> list[str]:
    """Wait for so many events, as long as that takes."""
    number = 0
    while number < count:
        number = sum(len(each["pdus"]) for each in member.transactions)
        await asyncio.sleep(_LOOK_SECONDS)
    return member.bodies


async def _sent_bodies(member: RemoteMember, room_id: str, count: int) -> list[str]:
    """Return the last messages of the room as the log has them, in order."""
    running = member.server.running
    async with running.base.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT e.event_nid FROM events e JOIN rooms r USING (room_nid)
            WHERE r.room_id = $1 ORDER BY e.pos DESC LIMIT $2
            """,
            room_id,
            count,
        )
    nids = [row["event_nid"] for row in reversed(rows)]
    events = await running.rooms.cache.get(nids)
    return [events[nid].pdu["content"]["body"] for nid in nids]


async def _has(member: RemoteMember, body: str) -> None:
    await member.waits_until(lambda: body in member.bodies[-60:])


async def _member(
    stack: contextlib.AsyncExitStack, authority: Authority, server: NamedServer, room_id: str
) -> RemoteMember:
    peer = await stack.enter_async_context(peer_server(authority))
    member = RemoteMember(server, peer, "eve")
    await member.joins(room_id)
    return member


if __name__ == "__main__":
    chosen = options(__doc__, runs=3, servers=50, events=10_000)
    with tempfile.TemporaryDirectory() as data_dir:
        folder = Path(data_dir)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres")
        try:
            run(measure, postgres.start(), folder, chosen.runs, chosen.servers, chosen.events)
        finally:
            postgres.stop()
