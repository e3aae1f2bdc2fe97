"""Events of other servers, from the parsed transaction to the room, in one room and in fifty.

    python -m benchmarks.inbound [--runs 5] [--events 1000]

Signatures are verified; the HTTP request around a transaction is not part of it. The CPU is that of
the server without PostgreSQL.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.support.report import say
from benchmarks.support.server import options, run
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.signing import read_signing_key
from homeserver.rooms.create import NewRoom
from homeserver.run.receive_layer import ReceiveLayer, receive_layer
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.dag import Dag, DagPeers, DagSignatures
from tests.support.node import Node, running_node, user

EVE, ELSEWHERE = "@eve:elsewhere.example", ServerName("elsewhere.example")
TRANSACTION = 50


async def measure(dsn: str, folder: Path, runs: int, events: int) -> None:
    async with running_node(dsn, folder) as node:
        key = read_signing_key((folder / "signing.key").read_text())
        peers = DagPeers()
        layer = receive_layer(
            node.base, node.rooms.writing, peers, DagSignatures({"localhost": key})
        )
        rooms = [await _room(node, layer, peers) for _ in range(50)]
        await measure_rooms("one room", layer, rooms[:1], runs, events)
        await measure_rooms("fifty rooms", layer, rooms, runs, events)


async def measure_rooms(
    name: str, layer: ReceiveLayer, rooms: list[Dag], runs: int, count: int
) -> None:
    cpu, rates = [], []
    for _ in range(runs + 1):
        events = _messages(rooms, count)
        before, started = time.process_time(), time.perf_counter()
        for start in range(0, count, TRANSACTION):
            pdus = [event.pdu for event in events[start : start + TRANSACTION]]
            await layer.receive.stage(ELSEWHERE, pdus)
        await layer.inbox.drained()
        rates.append(count / (time.perf_counter() - started))
        assert await layer.known.facts([events[-1].event_id]), "the last event did not arrive"
        cpu.append((time.process_time() - before) * 1000 / count)
    # The first run warms up.
    say(f"{name}: CPU of a PDU", "ms", cpu[1:], "≤ 0.8 ms")
    say(f"{name}: PDUs a second", "", rates[1:])


def _messages(rooms: list[Dag], count: int) -> list[Event]:
    """Make messages that follow each other in each room, evenly over the rooms."""
    made = []
    for number in range(count):
        dag = rooms[number % len(rooms)]
        last = next(reversed(dag.events))
        content = {"msgtype": "m.text", "body": f"message {number}"}
        made.append(dag.make(EVE, "m.room.message", content, [last]))
    return made


async def _room(node: Node, layer: ReceiveLayer, peers: DagPeers) -> Dag:
    alice = user("alice")
    room_id = await node.rooms.create.create(
        alice, NewRoom(preset="public_chat", room_version="11")
    )
    dag = Dag(room_id, rules_of("11"))
    peers.rooms[room_id] = dag
    head = await node.rooms.heads.head(room_id)
    assert head is not None
    (last,) = head.extremities
    nids = range(last[0] - 20, last[0] + 1)
    for event in (await node.rooms.cache.get(nids)).values():
        if event.room_id == room_id:
            dag.add(event)
    join = dag.make(EVE, "m.room.member", {"membership": "join"}, [last[1]], state_key=EVE)
    await layer.receive.stage(ELSEWHERE, [join.pdu])
    await layer.inbox.drained()
    return dag


if __name__ == "__main__":
    chosen = options(__doc__, runs=5, events=1000)
    with tempfile.TemporaryDirectory() as data_dir:
        folder = Path(data_dir)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres")
        try:
            run(measure, postgres.start(), folder, chosen.runs, chosen.events)
        finally:
            postgres.stop()
