"""Kicks, bans, restricted joins and invites across servers, and joins that peers answer wrongly."""

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from federation.membership import joining
from federation.transport.client import path_of
from homeserver.protocol.room_versions import rules_of
from homeserver.web.paths import FEDERATION_V1
from tests.between_servers.conftest import NewDatabase, RunServers
from tests.between_servers.test_joining import people
from tests.between_servers.test_revoked_invites import LONG_MS, sees
from tests.support.certificates import Authority
from tests.support.client import Refusal, clients_of, refused
from tests.support.federation import NamedServer, process_settings
from tests.support.forged_events import forged, id_of
from tests.support.peer_server import PeerServer, drips, now_ms
from tests.support.processes import free_port, server_processes

SEND = "/_matrix/federation/v2/send_join"
VERSION = "10"


@pytest.mark.parametrize("ending", ["kicks", "bans"])
async def test_a_member_of_another_server_is_taken_out(
    running_servers: RunServers, ending: str
) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        await bob.post(f"join/{room_id}", {}, via=two[0].name)
        await bob.reads_members(room_id)
        since = (await bob.syncs())["next_batch"]
        await getattr(alice, ending)(room_id, bob, reason="enough")
        await sees(bob, "leave", room_id, since)
        assert await bob.joined_rooms() == []
        with refused(403, "M_FORBIDDEN"):
            await bob.sends(room_id, "but")
        if ending == "bans":
            with refused(403, "M_FORBIDDEN"):
                await bob.post(f"join/{room_id}", {}, via=two[0].name)
        else:
            await bob.post(f"join/{room_id}", {}, via=two[0].name)


async def test_a_restricted_room_is_joined_through_a_server_that_can_let_one_in(
    running_servers: RunServers,
) -> None:
    """The first server asked knows nobody who may invite."""
    async with (
        running_servers(3) as three,
        people(three, "alice", "bob", "carol") as [alice, bob, carol],
    ):
        space = await alice.creates_room(preset="public_chat")
        room_id = await alice.creates_room(preset="public_chat")
        for each in (space, room_id):
            await bob.post(f"join/{each}", {}, via=three[0].name)
        await bob.reads_members(space)
        await carol.post(f"join/{space}", {}, via=three[0].name)
        levels = await alice.reads_state(room_id, "m.room.power_levels")
        await alice.sets(room_id, "m.room.power_levels", {**levels, "invite": 50})
        allow = [{"type": "m.room_membership", "room_id": space}]
        await alice.sets(room_id, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
        since = (await bob.syncs())["next_batch"]
        while (await bob.reads_state(room_id, "m.room.join_rules"))["join_rule"] == "public":
            since = (await bob.syncs(since, timeout=LONG_MS))["next_batch"]
        await carol.post(f"join/{room_id}", {}, via=[three[1].name, three[0].name])
        joined = await carol.reads_state(room_id, "m.room.member", carol.user_id)
        assert joined["join_authorised_via_users_server"] == alice.user_id
        assert set(await carol.reads_members(room_id)) == {
            alice.user_id, bob.user_id, carol.user_id,
        }  # fmt: skip
        # Nor does a server that is in the room itself.
        async with clients_of(three[1].url) as maker:
            dora = await maker.user("dora")
            await dora.post(f"join/{space}", {})
            since = (await alice.syncs())["next_batch"]
            while dora.user_id not in await alice.reads_members(space):
                since = (await alice.syncs(since, timeout=LONG_MS))["next_batch"]
            await dora.post(f"join/{room_id}", {}, via=three[0].name)
            joined = await dora.reads_state(room_id, "m.room.member", dora.user_id)
            assert joined["join_authorised_via_users_server"] == alice.user_id


async def test_a_room_stands_though_somebody_cannot_be_invited(
    running_servers: RunServers, peer: PeerServer
) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        nobody = [f"@nobody:{two[1].name}", f"@eve:{peer.name}"]
        room_id = await alice.creates_room(invite=[*nobody, bob.user_id])
        assert (await alice.reads_state(room_id, "m.room.member", bob.user_id))["membership"] == (
            "invite"
        )
        path = f"user/{bob.user_id}/account_data/m.invite_permission_config"
        await bob.put(path, {"default_action": "block"})
        with refused(403, "M_INVITE_BLOCKED"):
            await alice.creates_room(invite=[bob.user_id])


# Peers that answer joins wrongly


class Host:
    """A peer whose room is joined; `template` and `answer` change what it answers."""

    def __init__(self, peer: PeerServer, user_id: str) -> None:
        self.peer = peer
        self.rules = rules_of(VERSION)
        self.room_id = f"!room:{peer.name}"
        self.eve = f"@eve:{peer.name}"
        self.user_id = user_id
        self.make_join = path_of(FEDERATION_V1, "make_join", self.room_id, user_id)
        self.events: list[dict[str, Any]] = []
        self.create = self.makes("m.room.create", {"room_version": VERSION, "creator": self.eve})
        self.member = self.makes("m.room.member", {"membership": "join"}, self.eve)
        self.levels = self.makes("m.room.power_levels", {"users": {self.eve: 100}})
        self.opened = self.makes("m.room.join_rules", {"join_rule": "public"})
        self.sent: list[dict[str, Any]] = []
        self._respond = peer.respond
        self.asks()

    def makes(
        self, event_type: str, content: dict[str, Any], state_key: str = "", **changes: Any
    ) -> dict[str, Any]:
        pdu: dict[str, Any] = {
            "type": event_type,
            "room_id": self.room_id,
            "sender": self.eve,
            "state_key": state_key,
            "content": content,
            "depth": len(self.events) + 1,
            "origin_server_ts": now_ms(),
            "prev_events": [self.id(each) for each in self.events[-1:]],
            "auth_events": [self.id(each) for each in self.events],
        }
        event = forged(pdu, self.rules, self.peer.name, self.peer.key, **changes)
        self.events.append(event)
        return event

    def id(self, event: dict[str, Any]) -> str:
        return id_of(event, self.rules)

    def template(self, **changes: Any) -> dict[str, Any]:
        event = {
            "type": "m.room.member",
            "room_id": self.room_id,
            "sender": self.user_id,
            "state_key": self.user_id,
            "content": {"membership": "join"},
            "depth": 9,
            "origin_server_ts": now_ms(),
            "prev_events": [self.id(self.opened)],
            "auth_events": [self.id(each) for each in (self.create, self.levels, self.opened)],
        }
        return {"room_version": VERSION, "event": {**event, **changes}}

    def asks(self, **changes: Any) -> None:
        """Answer make_join with another template."""
        self.peer.answers("GET", self.make_join, self.template(**changes))

    def answer(self, **changes: Any) -> dict[str, Any]:
        whole = {"state": self.events, "auth_chain": self.events, "members_omitted": False}
        return {**whole, "servers_in_room": [self.peer.name], **changes}

    async def responds(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """Take whatever is sent as a join."""
        if not request.raw_path.startswith(SEND):
            return None
        self.sent.append(json.loads(await request.read()))
        return web.json_response(self.reply)

    def takes(self, **changes: Any) -> None:
        """Answer send_join, whatever event comes."""
        self.reply = self.answer(**changes)

        async def takes(request: web.BaseRequest) -> web.StreamResponse:
            answered = await self.responds(request)
            return answered or await self._respond(request)

        self.peer.respond = takes  # type: ignore[method-assign]


async def test_a_template_for_another_event_is_not_signed(
    server: NamedServer, peer: PeerServer
) -> None:
    async with people([server], "alice") as [alice]:
        host = Host(peer, alice.user_id)
        host.takes()
        other = f"@admin:{server.name}"
        for changes in (
            {"room_id": "!another:room.example"},
            {"sender": other},
            {"state_key": other},
            {"sender": host.eve, "state_key": host.eve},
            {"type": "m.room.message"},
            {"content": {"membership": "leave"}},
            {"content": {"membership": "ban"}},
            {"prev_events": "none"},
            {"auth_events": [7]},
            {"depth": "deep"},
        ):
            host.asks(**changes)
            with pytest.raises(Refusal) as refusal:
                await alice.post(f"join/{host.room_id}", {}, via=peer.name)
            assert refusal.value.status in (400, 403, 404, 502)
            assert all(
                (pdu["room_id"], pdu["sender"], pdu["state_key"], pdu["content"]["membership"])
                == (host.room_id, alice.user_id, alice.user_id, "join")
                for pdu in host.sent
            )
        assert await alice.joined_rooms() == []
        host.asks()
        await alice.post(f"join/{host.room_id}", {}, via=peer.name)
        assert await alice.joined_rooms() == [host.room_id]


async def test_an_answer_that_does_not_hold_together_is_no_room(
    server: NamedServer, peer: PeerServer
) -> None:
    async with people([server], "alice") as [alice]:
        host = Host(peer, alice.user_id)
        host.asks()
        forged_levels = {**host.levels, "content": {"users": {host.eve: 100, "@x:y": 100}}}
        elsewhere = [{**each, "room_id": "!another:room.example"} for each in host.events]
        for changes in (
            {"state": None},
            {"state": {}},
            {"auth_chain": "x"},
            {"state": [], "auth_chain": []},
            {"state": host.events[1:], "auth_chain": host.events[1:]},
            {"state": elsewhere, "auth_chain": elsewhere},
            {"state": [7, None, "x", [], {}], "auth_chain": [{}]},
            {"state": [{**each, "signatures": {}} for each in host.events], "auth_chain": []},
            {"state": [{"type": "m.room.create"}] * 3, "auth_chain": [forged_levels]},
        ):
            host.takes(**changes)
            with pytest.raises(Refusal) as refusal:
                await alice.post(f"join/{host.room_id}", {}, via=peer.name)
            assert refusal.value.status in (400, 403, 404, 502)
            assert await alice.joined_rooms() == []
        host.takes()
        await alice.post(f"join/{host.room_id}", {}, via=peer.name)
        assert await alice.joined_rooms() == [host.room_id]


async def test_forged_state_is_left_out_of_a_room(server: NamedServer, peer: PeerServer) -> None:
    async with people([server], "alice") as [alice]:
        host = Host(peer, alice.user_id)
        host.asks()
        victim = "@victim:faraway.example"
        stolen = host.makes("m.room.member", {"membership": "join"}, victim, sender=victim)
        host.makes("m.room.topic", {"topic": "no"}, sender=f"@mallory:{peer.name}")
        named = host.makes("m.room.name", {"name": "Cave"}, auth_events=[
            host.id(each) for each in (host.create, host.member, host.levels)
        ])  # fmt: skip
        host.takes()
        await alice.post(f"join/{host.room_id}", {}, via=peer.name)
        assert (await alice.reads_state(host.room_id, "m.room.name")) == named["content"]
        assert stolen["state_key"] not in await alice.reads_members(host.room_id)
        with refused(404, "M_NOT_FOUND"):
            await alice.reads_state(host.room_id, "m.room.topic")


async def test_an_answer_to_a_join_that_never_ends_does_not_keep_others_from_being_asked(
    server: NamedServer,
    peer: PeerServer,
    other_peer: PeerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with people([server], "alice") as [alice]:
        host = Host(peer, alice.user_id)
        host.takes()
        other_peer.answers("GET", host.make_join, host.template())
        respond = other_peer.respond
        asked: list[str] = []
        monkeypatch.setattr(joining, "_SEND_TIMEOUT_MS", 1_000)

        async def begins(request: web.BaseRequest) -> web.StreamResponse:
            if not request.raw_path.startswith(SEND):
                return await respond(request)
            asked.append(request.raw_path)
            # Who is asked next may take its time.
            monkeypatch.undo()
            return await drips(request)

        other_peer.respond = begins  # type: ignore[method-assign]
        await alice.post(f"join/{host.room_id}", {}, via=[other_peer.name, peer.name])
        assert (len(asked), len(host.sent)) == (1, 1)
        assert await alice.joined_rooms() == [host.room_id]


async def test_a_partial_join_is_completed_by_a_server_that_was_killed_meanwhile(
    authority: Authority, new_database: NewDatabase, peer: PeerServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        make = stack.enter_context(server_processes())
        port = free_port()
        settings = process_settings(authority, new_database(), port)
        process = make(tmp_path / "data", settings, port=port)
        await asyncio.to_thread(process.start)
        host = Host(peer, f"@alice:{settings['SERVER_NAME']}")
        cited = [host.id(each) for each in (host.create, host.levels, host.opened)]
        members = [f"@member{number}:{peer.name}" for number in range(3)]
        for each in members:
            host.makes(
                "m.room.member", {"membership": "join"}, each, sender=each, auth_events=cited
            )
        host.asks()
        told = host.events[: -len(members)]
        host.takes(state=told, auth_chain=told, members_omitted=True)
        is_asked = asyncio.Event()

        async def hangs(_request: web.BaseRequest) -> web.StreamResponse:
            is_asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        state = path_of(FEDERATION_V1, "state", host.room_id)
        peer.answers("GET", state, hangs)
        async with clients_of(process.url) as maker:
            alice = await maker.user("alice")
            await alice.post(f"join/{host.room_id}", {}, via=peer.name)
            await alice.sends(host.room_id, "hello")
            assert host.room_id not in (await alice.syncs()).get("rooms", {}).get("join", {})
            await asyncio.wait_for(is_asked.wait(), 60)
            await asyncio.to_thread(process.kill)
            peer.answers("GET", state, {"pdus": host.events, "auth_chain": host.events})
            await asyncio.to_thread(process.start)
            assert set(await alice.reads_members(host.room_id)) == {
                host.eve, host.user_id, *members,
            }  # fmt: skip
            assert host.room_id in (await alice.syncs())["rooms"]["join"]
        await asyncio.to_thread(stack.close)
