"""A node whose rooms have users elsewhere, and the model of such a room."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.signing import read_signing_key
from homeserver.rooms.create import NewRoom
from homeserver.run.receive_layer import ReceiveLayer, receive_layer
from tests.support.dag import Dag, DagPeers, DagSignatures
from tests.support.node import Node, running_node, user

ALICE = user("alice")
EVE = "@eve:elsewhere.example"
FRED = "@fred:faraway.example"
ELSEWHERE = ServerName("elsewhere.example")


class Receiving(msgspec.Struct):
    """A node that receives, and who it asks."""

    node: Node
    layer: ReceiveLayer
    peers: DagPeers
    signatures: DagSignatures

    async def gets(self, *events: Event, origin: str = ELSEWHERE) -> dict[EventID, object]:
        """Have events sent in one transaction, and wait until they are dealt with."""
        told = await self.layer.receive.stage(ServerName(origin), [each.pdu for each in events])
        await self.layer.inbox.drained()
        return told

    async def state(self, room_id: RoomID) -> dict[StateKey, EventID]:
        """Return the current state as the database has it."""
        async with self.node.base.database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT e.type, e.state_key, e.event_id
                FROM room_state s JOIN events e ON e.event_nid = s.event_nid
                JOIN rooms r ON r.room_nid = s.room_nid WHERE r.room_id = $1
                """,
                room_id,
            )
        return {(row["type"], row["state_key"]): row["event_id"] for row in rows}

    async def flags(self, event_id: str) -> int | None:
        """Return the flags of an event (1 outlier, 2 rejected, 4 soft-failed); None: not stored."""
        async with self.node.base.database.connection() as connection:
            flags = await connection.fetchval(
                "SELECT flags FROM events WHERE event_id = $1", event_id
            )
        return None if flags is None else flags & 7

    async def extremities(self, room_id: RoomID) -> set[EventID]:
        async with self.node.base.database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT e.event_id FROM rooms r JOIN events e ON e.event_nid = ANY (r.extremities)
                WHERE r.room_id = $1
                """,
                room_id,
            )
        return {row["event_id"] for row in rows}

    async def staged(self) -> int:
        async with self.node.base.database.connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM inbound_pdus")

    async def add_all(self, dag: Dag) -> None:
        """Add the events that the node has made to the model."""
        async with self.node.base.database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT e.event_nid FROM events e JOIN rooms r ON r.room_nid = e.room_nid
                WHERE r.room_id = $1 ORDER BY e.event_nid
                """,
                dag.room_id,
            )
        nids = [row["event_nid"] for row in rows]
        events = await self.node.rooms.cache.get(nids)
        for nid in nids:
            if events[nid].event_id not in dag.events:
                dag.add(events[nid])


@pytest.fixture
async def receiving(database_dsn: str, tmp_path: Path) -> AsyncIterator[Receiving]:
    async with running_node(database_dsn, tmp_path) as node:
        key = read_signing_key((tmp_path / "signing.key").read_text())
        peers, signatures = DagPeers(), DagSignatures({"localhost": key})
        layer = receive_layer(node.base, node.rooms.writing, peers, signatures)
        yield Receiving(node, layer, peers, signatures)


MakeRoom = Callable[..., Awaitable[Dag]]


def rooms_of(receiving: Receiving) -> MakeRoom:
    """Make rooms of Alice, who is here, and of Eve and Fred, who are on other servers."""

    async def make(version: str = "11", **content: object) -> Dag:
        room_id = await receiving.node.rooms.create.create(
            ALICE, NewRoom(preset="public_chat", room_version=version)
        )
        dag = Dag(room_id, rules_of(version))
        receiving.peers.rooms[room_id] = dag
        await receiving.add_all(dag)
        for who in (EVE, FRED):
            (last,) = await receiving.extremities(room_id)
            join = {"membership": "join"}
            await receiving.gets(dag.make(who, "m.room.member", join, [last], state_key=who))
        return dag

    return make


@pytest.fixture
def make_room(receiving: Receiving) -> MakeRoom:
    return rooms_of(receiving)
