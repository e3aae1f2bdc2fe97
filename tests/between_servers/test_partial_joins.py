"""Rooms whose members are not known yet: who is told, who leaves, who comes at the same time."""

import asyncio

import pytest
from aiohttp import web

from federation.transport.client import path_of
from homeserver.protocol.identifiers import RoomID
from homeserver.storage import joined_rooms
from homeserver.web.paths import FEDERATION_V1
from tests.between_servers.conftest import RunServers
from tests.between_servers.test_joining import members_at, people, state_ids_at
from tests.between_servers.test_membership_between import Host
from tests.between_servers.test_policy_servers import KEY, SIGN, signs
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer
from tests.support.remote_member import RemoteMember


class PartialHost:
    """The room of a peer that is joined with members omitted; its state comes when it is told."""

    def __init__(self, server: NamedServer, peer: PeerServer, user_id: str) -> None:
        # Takes transactions.
        self.eve = RemoteMember(server, peer, "eve")
        self.host = Host(peer, user_id)
        self.room_id = RoomID(self.host.room_id)
        self.server = server
        self.peer = peer
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.status = 200
        self._path = path_of(FEDERATION_V1, "state", self.room_id)
        peer.answers("GET", self._path, self._answers)

    async def _answers(self, _request: web.BaseRequest) -> web.StreamResponse:
        self.is_asked.set()
        await self.may_answer.wait()
        events = self.host.events
        answer = {"pdus": events, "auth_chain": events} if self.status == 200 else {}
        return web.json_response(answer, status=self.status)

    def omits(self, *servers: str) -> None:
        """Answer the next join without members; `servers` are said to be in the room."""
        told = [each for each in self.host.events if each is not self.host.member]
        self.host.takes(
            state=told, members_omitted=True, servers_in_room=[self.peer.name, *servers]
        )

    @property
    def questions(self) -> int:
        return len(self.peer.asked(self._path))

    async def attempted(self) -> None:
        """Have the members asked for that are not known, and wait for what comes of it."""
        completion = self.server.running.parts.memberships.completion
        await completion.begin()
        await completion.attempted(self.room_id)

    async def is_partial(self) -> bool:
        async with self.server.running.base.database.connection() as connection:
            joins = await joined_rooms.partial_joins(connection)
        return self.room_id in [each.room_id for each in joins]


async def joins(alice: Client, room: PartialHost) -> None:
    await alice.post(f"join/{room.room_id}", {}, via=room.peer.name)


async def test_a_server_that_was_down_gets_what_was_said_before_members_are_known(
    server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    async with people([server], "alice") as [alice]:
        room = PartialHost(server, peer, alice.user_id)
        fred = RemoteMember(server, other_peer, "fred")
        has_failed = asyncio.Event()

        async def fails(_request: web.BaseRequest) -> web.StreamResponse:
            has_failed.set()
            return web.json_response({"errcode": "M_UNKNOWN", "error": "down"}, status=503)

        fred.script = fails
        room.omits(other_peer.name)
        await joins(alice, room)
        await alice.sends(room.room_id, "one")
        await has_failed.wait()
        await alice.sends(room.room_id, "two")
        fred.script = None
        await fred.waits_until(lambda: "two" in fred.bodies)
        assert fred.bodies == ["one", "two"]
        assert await room.is_partial()
        room.may_answer.set()
        await room.attempted()
        assert not await room.is_partial()


@pytest.mark.parametrize("status", [200, 403])
async def test_the_last_user_leaves_before_members_are_known_and_comes_back(
    server: NamedServer, peer: PeerServer, status: int
) -> None:
    async with people([server], "alice") as [alice]:
        room = PartialHost(server, peer, alice.user_id)
        room.omits()
        await joins(alice, room)
        await room.is_asked.wait()
        await alice.leaves(room.room_id)
        # Who is not in the room any more may be refused.
        room.status = status
        room.may_answer.set()
        await server.running.parts.memberships.completion.attempted(room.room_id)
        assert await room.is_partial() is (status == 403)
        asked = room.questions
        await room.attempted()
        assert not await room.is_partial()
        assert room.questions == asked
        room.status = 200
        await joins(alice, room)
        assert set(await alice.reads_members(room.room_id)) == {alice.user_id, room.host.eve}


@pytest.mark.parametrize(
    "named", [[], [f"127.0.0.1:{number}" for number in range(1, 13)]], ids=["nobody", "the dead"]
)
async def test_who_has_answered_a_join_is_asked_for_the_members_whoever_is_named(
    server: NamedServer, peer: PeerServer, named: list[str]
) -> None:
    async with people([server], "alice") as [alice]:
        room = PartialHost(server, peer, alice.user_id)
        told = [each for each in room.host.events if each is not room.host.member]
        room.host.takes(state=told, members_omitted=True, servers_in_room=named)
        room.may_answer.set()
        await joins(alice, room)
        await room.attempted()
        assert not await room.is_partial()
        assert set(await alice.reads_members(room.room_id)) == {alice.user_id, room.host.eve}


async def test_a_policy_server_is_asked_before_it_is_known_to_be_in_the_room(
    server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    async with people([server], "alice") as [alice]:
        room = PartialHost(server, peer, alice.user_id)
        host = room.host
        host.makes(
            "m.room.policy",
            {"via": other_peer.name, "public_keys": {"ed25519": KEY.verify_key}},
            auth_events=[host.id(each) for each in (host.create, host.member, host.levels)],
        )
        room.omits(other_peer.name)
        signs(other_peer)
        await joins(alice, room)
        assert (await alice.reads_state(room.room_id, "m.room.policy"))["via"] == other_peer.name
        await alice.sends(room.room_id, "hello")
        assert len(other_peer.asked(SIGN)) == 1
        assert await room.is_partial()
        room.may_answer.set()
        await room.attempted()


async def test_two_users_of_a_server_join_at_the_same_moment(running_servers: RunServers) -> None:
    async with (
        running_servers(2) as two,
        people(two, "alice", "bob") as [alice, bob],
        clients_of(two[1].url) as clients,
    ):
        carol = await clients.user("carol")
        room_id = await alice.creates_room(preset="public_chat")
        await asyncio.gather(
            *(each.post(f"join/{room_id}", {}, via=two[0].name) for each in (bob, carol))
        )
        for each in (bob, carol):
            await each.sends(room_id, "hello")
        everybody = dict.fromkeys((alice.user_id, bob.user_id, carol.user_id), "join")
        for server in two:
            assert await members_at(server, room_id) == everybody
        assert await state_ids_at(two[0], room_id) == await state_ids_at(two[1], room_id)
