"""A peer with a user in rooms of a server of ours: it makes real events and takes transactions.

eve = RemoteMember(server, peer, "eve")
await eve.joins(room_id)
await eve.sends_message(room_id, "hello")
body = await eve.is_sent(lambda transactions: …)
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import rules_of
from tests.support.dag import Dag, key_of
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer, Reply, now_ms

WAIT_SECONDS = 60.0


class RemoteMember:
    """A user of a peer."""

    def __init__(self, server: NamedServer, peer: PeerServer, name: str) -> None:
        self.server = server
        self.peer = peer
        self.user_id = f"@{name}:{peer.name}"
        self.dags: dict[str, Dag] = {}
        # What was sent to the peer, in order.
        self.transactions: list[JsonObject] = []
        self.is_down = False
        # How to answer transactions, if not well.
        self.script: Callable[[web.BaseRequest], Any] | None = None
        self._has_come = asyncio.Condition()
        self._txn_ids = itertools.count()
        peer.key = key_of(peer.name)
        peer.publishes_keys()
        self._respond = peer.respond
        peer.respond = self._takes  # type: ignore[method-assign]

    async def _takes(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.startswith("/_matrix/federation/v1/send/"):
            return await self._respond(request)
        if self.is_down:
            return web.json_response({"errcode": "M_UNKNOWN", "error": "down"}, status=503)
        if self.script is not None:
            answer: web.StreamResponse | None = await self.script(request)
            if answer is not None:
                return answer
        async with self._has_come:
            self.transactions.append(json.loads(await request.read()))
            self._has_come.notify_all()
        return web.json_response({"pdus": {}})

    @property
    def pdus(self) -> list[JsonObject]:
        """All events that have come."""
        return [pdu for each in self.transactions for pdu in each["pdus"]]

    @property
    def bodies(self) -> list[str]:
        """The texts of messages that have come, in order."""
        return [pdu["content"].get("body") for pdu in self.pdus if pdu["type"] == "m.room.message"]

    def edus(self, edu_type: str) -> list[JsonObject]:
        """The contents of EDUs of a type that have come."""
        return [
            edu["content"]
            for each in self.transactions
            for edu in each["edus"]
            if edu["edu_type"] == edu_type
        ]

    async def waits_until(self, condition: Callable[[], bool]) -> None:
        """Wait for transactions until a condition is true."""
        async with asyncio.timeout(WAIT_SECONDS), self._has_come:
            await self._has_come.wait_for(condition)

    async def transmits(
        self,
        pdus: Sequence[Any] = (),
        edus: Sequence[Any] = (),
        **other: Any,
    ) -> Reply:
        """Send a transaction, and wait until its events are dealt with."""
        txn_id = other.pop("txn_id", None) or f"t{next(self._txn_ids)}"
        body: JsonObject = {"origin": self.peer.name, "origin_server_ts": 1}
        body |= {"pdus": list(pdus), "edus": list(edus), **other}
        reply = await self.peer.sends(
            self.server.name, "PUT", f"/_matrix/federation/v1/send/{txn_id}", body
        )
        await self.server.running.receiving.inbox.drained()
        return reply

    async def says(self, edu_type: str, content: JsonObject) -> Reply:
        """Send one EDU."""
        return await self.transmits(edus=[{"edu_type": edu_type, "content": content}])

    async def joins(self, room_id: str) -> Event:
        """Join a public room; the join is sent as a PDU."""
        return await self.makes(room_id, "m.room.member", {"membership": "join"}, self.user_id)

    async def sends_message(self, room_id: str, body: str) -> Event:
        return await self.makes(room_id, "m.room.message", {"msgtype": "m.text", "body": body})

    async def makes(
        self, room_id: str, event_type: str, content: JsonObject, state_key: str | None = None
    ) -> Event:
        """Make an event at the end of a room, and send it."""
        dag, last = await self.sees(room_id)
        event = dag.make(self.user_id, event_type, content, last, state_key=state_key, ts=now_ms())
        reply = await self.transmits([event.pdu])
        assert reply == Reply(200, {"pdus": {event.event_id: {}}})
        return event

    async def sees(self, room_id: str) -> tuple[Dag, list[Any]]:
        """Return a room as the server has it, and the IDs of its last events."""
        running = self.server.running
        async with running.base.database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT e.event_nid, r.room_version FROM events e
                JOIN rooms r ON r.room_nid = e.room_nid
                WHERE r.room_id = $1 ORDER BY e.event_nid
                """,
                room_id,
            )
            ends = await connection.fetch(
                """
                SELECT e.event_id FROM rooms r JOIN events e ON e.event_nid = ANY (r.extremities)
                WHERE r.room_id = $1
                """,
                room_id,
            )
        if room_id not in self.dags:
            dag = Dag(RoomID(room_id), rules_of(rows[0]["room_version"]))
            # Room versions 1 and 2 have event IDs that must differ from those of other rooms.
            dag.serial = 10_000 * len(self.dags)
            self.dags[room_id] = dag
        dag = self.dags[room_id]
        nids = [row["event_nid"] for row in rows]
        events = await running.rooms.cache.get(nids)
        for nid in nids:
            if events[nid].event_id not in dag.events:
                dag.add(events[nid])
        return dag, [row["event_id"] for row in ends]
