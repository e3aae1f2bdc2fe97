"""Servers that know only the first versions of `send_join`, `send_leave` and `invite`."""

import json
from typing import Any

from aiohttp import web

from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.signing import sign_event
from tests.between_servers.test_joining import people
from tests.between_servers.test_membership_between import Host
from tests.support.client import quoted
from tests.support.federation import NamedServer
from tests.support.forged_events import forged
from tests.support.peer_server import PeerServer, now_ms
from tests.support.remote_member import RemoteMember

FEDERATION = "/_matrix/federation"


async def test_an_old_server_is_joined_through(server: NamedServer, peer: PeerServer) -> None:
    async with people([server], "alice") as [alice]:
        host = Host(peer, alice.user_id)
        respond, sent = peer.respond, []

        async def takes(request: web.BaseRequest) -> web.StreamResponse:
            if not request.raw_path.startswith(f"{FEDERATION}/v1/send_join/"):
                return await respond(request)
            sent.append(json.loads(await request.read()))
            return web.json_response([200, {"state": host.events, "auth_chain": host.events}])

        peer.respond = takes  # type: ignore[method-assign]
        await alice.post(f"join/{host.room_id}", {}, via=peer.name)
        assert [each["state_key"] for each in sent] == [alice.user_id]
        assert set(await alice.reads_members(host.room_id)) == {alice.user_id, host.eve}


async def test_a_user_of_an_old_server_is_invited(server: NamedServer, peer: PeerServer) -> None:
    async with people([server], "alice") as [alice]:
        respond, told = peer.respond, []

        async def signs(request: web.BaseRequest) -> web.StreamResponse:
            if not request.raw_path.startswith(f"{FEDERATION}/v1/invite/"):
                return await respond(request)
            pdu: dict[str, Any] = json.loads(await request.read())
            told.append(pdu["unsigned"]["invite_room_state"])
            signed = sign_event(pdu, rules_of("1"), peer.name, peer.key)
            return web.json_response([200, {"event": signed}])

        peer.respond = signs  # type: ignore[method-assign]
        target = f"@eve:{peer.name}"
        room_id = await alice.creates_room(room_version="1")
        await alice.post(f"rooms/{quoted(room_id)}/invite", {"user_id": target})
        assert (await alice.reads_members(room_id))[target] == "invite"
        assert "m.room.create" in [each["type"] for each in told[0]]


async def test_old_servers_hand_in_joins_leaves_and_invites(
    server: NamedServer, peer: PeerServer
) -> None:
    async with people([server], "alice") as [alice]:
        eve = RemoteMember(server, peer, "eve")
        room_id = await alice.creates_room(preset="public_chat", room_version="1")

        async def hands_in(operation: str, membership: str) -> Any:
            dag, last = await eve.sees(room_id)
            content = {"membership": membership}
            event = dag.make(
                eve.user_id, "m.room.member", content, last, state_key=eve.user_id, ts=now_ms()
            )
            path = f"{FEDERATION}/v1/{operation}/{quoted(room_id)}/{quoted(event.event_id)}"
            reply = await peer.sends(server.name, "PUT", path, event.pdu)
            assert (reply.status, reply.json[0]) == (200, 200)
            assert (await alice.reads_members(room_id))[eve.user_id] == membership
            return reply.json[1]

        answer = await hands_in("send_join", "join")
        types = {each["type"] for each in answer["state"]}
        assert {"m.room.create", "m.room.member", "m.room.power_levels"} <= types
        assert answer["auth_chain"]
        assert await hands_in("send_leave", "leave") == {}

        host = Host(peer, alice.user_id)
        event_id = f"$invite:{peer.name}"
        proposed = {**host.template()["event"], "event_id": event_id, "sender": host.eve}
        wanted = {"content": {"membership": "invite"}, "prev_events": [], "auth_events": []}
        invite = forged(proposed, rules_of("1"), peer.name, peer.key, **wanted)
        described = [{"type": "m.room.create", "state_key": "", "sender": host.eve, "content": {}}]
        body = {**invite, "unsigned": {"invite_room_state": described}}
        path = f"{FEDERATION}/v1/invite/{quoted(host.room_id)}/{quoted(event_id)}"
        reply = await peer.sends(server.name, "PUT", path, body)
        assert (reply.status, reply.json[0]) == (200, 200)
        assert server.name in reply.json[1]["event"]["signatures"]
        assert host.room_id in (await alice.syncs())["rooms"]["invite"]
