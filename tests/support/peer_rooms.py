"""Rooms that a peer shares with a server: the peer has a model of the room and its users join."""

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.room_versions import rules_of
from tests.support.dag import Dag, key_of
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer, now_ms

JOIN = {"membership": "join"}


async def known_events(server: NamedServer, dag: Dag) -> None:
    """Add the events that the server has to the model."""
    async with server.running.base.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT e.event_nid FROM events e JOIN rooms r ON r.room_nid = e.room_nid
            WHERE r.room_id = $1 AND e.flags & 7 = 0 ORDER BY e.pos, e.sub
            """,
            dag.room_id,
        )
    nids = [row["event_nid"] for row in rows]
    events = await server.running.rooms.cache.get(nids)
    for nid in nids:
        if events[nid].event_id not in dag.events:
            dag.add(events[nid])


async def last_event(server: NamedServer, room_id: RoomID) -> EventID:
    """Return the only forward extremity."""
    head = await server.running.rooms.heads.head(room_id)
    assert head is not None
    ((_, event_id),) = head.extremities
    return event_id


async def send_as_peer(server: NamedServer, peer: PeerServer, *events: Event) -> None:
    """Have events of a peer taken in."""
    receiving = server.running.receiving
    told = await receiving.receive.stage(peer.name, [each.pdu for each in events])
    assert not any(told.values()), told
    await receiving.inbox.drained()


async def peer_joins(
    server: NamedServer, peer: PeerServer, room_id: str, version: str = "11", name: str = "eve"
) -> Dag:
    """Have a user of a peer join a public room, and return the model of it."""
    peer.key = key_of(peer.name)
    peer.publishes_keys()
    dag = Dag(RoomID(room_id), rules_of(version))
    await known_events(server, dag)
    user_id = f"@{name}:{peer.name}"
    join = dag.make(
        user_id,
        "m.room.member",
        JOIN,
        [await last_event(server, dag.room_id)],
        state_key=user_id,
        # The model's clock is ahead of what keys are valid for.
        ts=now_ms(),
    )
    await send_as_peer(server, peer, join)
    return dag
