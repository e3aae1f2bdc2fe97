"""Rooms whose events a policy server signs. Spec: server-server-api/#policy-servers"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from federation.transport.client import path_of
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.signing import sign_event
from homeserver.web.paths import FEDERATION_V1, FEDERATION_V2
from tests.support.client import Client, clients_of, refused
from tests.support.federation import NamedServer
from tests.support.peer_rooms import known_events, last_event, peer_joins, send_as_peer
from tests.support.peer_server import PeerServer, new_key, now_ms

SIGN = "/_matrix/policy/v1/sign"
HELLO = {"msgtype": "m.text", "body": "hello"}
KEY = new_key("policy_server")
OTHER_KEY = new_key("policy_server")
RULES = rules_of("11")


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as maker:
        yield await maker.user("alice")


def signature(peer: PeerServer, pdu: JsonObject, key: Any = KEY) -> JsonObject:
    signed = sign_event({**pdu, "signatures": {}}, RULES, ServerName(peer.name), key)
    return signed["signatures"]


def signs(peer: PeerServer, key: Any = KEY) -> None:
    async def script(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(signature(peer, json.loads(await request.read()), key))

    peer.answers("POST", SIGN, script)


async def room_with_policy(server: NamedServer, alice: Client, peer: PeerServer) -> Any:
    """Make a room of Alice's in which the peer is the policy server; return the model of it."""
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    await alice.sets(
        room_id,
        "m.room.policy",
        {"via": peer.name, "public_keys": {"ed25519": KEY.verify_key}},
    )
    assert peer.asked(SIGN) == []
    await known_events(server, dag)
    return dag


async def stored(server: NamedServer, event_id: str) -> tuple[int, JsonObject]:
    """Return the flags and the signatures of an event."""
    async with server.running.base.database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT event_nid, flags FROM events WHERE event_id = $1", event_id
        )
    server.running.rooms.cache.drop(row["event_nid"])
    events = await server.running.rooms.cache.get([row["event_nid"]])
    return row["flags"] & 7, events[row["event_nid"]].pdu["signatures"]


async def test_events_of_this_server_carry_the_signature(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    signs(peer)
    event_id = await alice.sends(dag.room_id, "hello")
    topic = await alice.sets(dag.room_id, "m.room.topic", {"topic": "policies"})
    for each in (event_id, topic):
        flags, signatures = await stored(server, each)
        assert flags == 0
        assert set(signatures) == {server.name, peer.name}
        assert list(signatures[peer.name]) == ["ed25519:policy_server"]
    assert len(peer.asked(SIGN)) == 2


async def test_a_refusal_reaches_the_client_as_it_is(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    spam = {"errcode": "M_FORBIDDEN", "error": "This looks like spam", "org.example.score": 9}
    peer.answers("POST", SIGN, spam, status=400)
    with refused(400, "M_FORBIDDEN") as caught:
        await alice.sends(dag.room_id, "buy!")
    assert caught.value.body == spam
    assert await last_event(server, dag.room_id) in dag.events


async def test_while_the_policy_server_is_down_nothing_is_sent(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    peer.answers("POST", SIGN, {}, status=502)
    with refused(502, "M_UNKNOWN"):
        await alice.sends(dag.room_id, "hello")
    # The policy server itself can always be dismissed.
    await alice.sets(dag.room_id, "m.room.policy", {})
    await alice.sends(dag.room_id, "hello")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"other.example": {"ed25519:policy_server": "c2ln"}},
        {"PEER": {}},
        {"PEER": {"ed25519:policy_server": 5}},
        {"PEER": {"ed25519:policy_server": "c2ln"}},
        {"PEER": {"ed25519:policy_server": "A" * 60_000}},
        {"PEER": ["ed25519:policy_server"]},
    ],
)
async def test_what_is_no_signature_is_none(server, alice, peer, answer) -> None:
    dag = await room_with_policy(server, alice, peer)
    named = {peer.name if key == "PEER" else key: value for key, value in answer.items()}
    peer.answers("POST", SIGN, named)
    with refused(403, "M_FORBIDDEN"):
        await alice.sends(dag.room_id, "hello")


async def test_signature_by_another_key_is_none(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    signs(peer, OTHER_KEY)
    with refused(403, "M_FORBIDDEN"):
        await alice.sends(dag.room_id, "hello")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": "PEER"},
        {"via": "PEER", "public_keys": {"ed25519": 5}},
        {"via": "PEER", "public_keys": []},
        {"via": 5, "public_keys": {"ed25519": "a"}},
        {"via": "not a name", "public_keys": {"ed25519": "a"}},
        {"via": "absent.example", "public_keys": {"ed25519": "a"}},
    ],
)
async def test_rooms_without_a_valid_policy_use_none(server, alice, peer, content) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await peer_joins(server, peer, room_id)
    named = {key: peer.name if value == "PEER" else value for key, value in content.items()}
    await alice.sets(room_id, "m.room.policy", named)
    await alice.sends(room_id, "hello")
    assert peer.asked(SIGN) == []


async def test_received_events_need_the_signature(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)

    async def sends(**more: Any) -> str:
        last = await last_event(server, dag.room_id)
        event = dag.make(f"@eve:{peer.name}", "m.room.message", HELLO, [last], ts=now_ms())
        if more.get("is_signed"):
            mine = event.pdu["signatures"]
            given = {**mine[peer.name], **signature(peer, event.pdu)[peer.name]}
            event.pdu["signatures"] = {**mine, peer.name: given}
        await send_as_peer(server, peer, event)
        return event.event_id

    signed = await sends(is_signed=True)
    assert (await stored(server, signed))[0] == 0
    assert peer.asked(SIGN) == []
    # Without it the policy server is asked for one, which is kept …
    signs(peer)
    asked = await sends()
    flags, signatures = await stored(server, asked)
    assert (flags, len(signatures[peer.name])) == (0, 2)
    # … and where it refuses, is gone or signs wrongly, the event is soft-failed.
    peer.answers("POST", SIGN, {"errcode": "M_FORBIDDEN", "error": "spam"}, status=400)
    refused_event = await sends()
    signs(peer, OTHER_KEY)
    wrong = await sends()
    peer.answers("POST", SIGN, {}, status=503)
    silent = await sends()
    for each in (refused_event, wrong, silent):
        assert (await stored(server, each))[0] == 4
    page = await alice.reads_messages(dag.room_id, limit=5)
    shown = {each["event_id"] for each in page["chunk"]}
    assert {signed, asked} <= shown
    assert not shown & {refused_event, wrong, silent}


async def test_nobody_is_asked_to_sign_a_template(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    peer.answers("POST", SIGN, {}, status=503)
    gina = f"@gina:{peer.name}"
    path = path_of(FEDERATION_V1, "make_join", dag.room_id, gina)
    reply = await peer.sends(server.name, "GET", f"{path}?ver=11")
    assert (reply.status, reply.json["event"]["state_key"]) == (200, gina)
    assert peer.asked(SIGN) == []


async def test_a_join_is_answered_as_it_is_in_the_room(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    signs(peer)
    gina = f"@gina:{peer.name}"
    last = [await last_event(server, dag.room_id)]
    content = {"membership": "join"}
    join = dag.make(gina, "m.room.member", content, last, state_key=gina, ts=now_ms())
    path = path_of(FEDERATION_V2, "send_join", dag.room_id, join.event_id)
    reply = await peer.sends(server.name, "PUT", path, join.pdu)
    assert reply.status == 200
    signatures = reply.json["event"]["signatures"]
    assert signatures == (await stored(server, join.event_id))[1]
    assert "ed25519:policy_server" in signatures[peer.name]


async def test_a_policy_server_that_has_left_is_not_asked(server, alice, peer) -> None:
    dag = await room_with_policy(server, alice, peer)
    signs(peer)
    await alice.sends(dag.room_id, "hello")
    await alice.sends(dag.room_id, "hello again")
    assert len(peer.asked(SIGN)) == 2
    await known_events(server, dag)
    eve, last = f"@eve:{peer.name}", [await last_event(server, dag.room_id)]
    content = {"membership": "leave"}
    leave = dag.make(eve, "m.room.member", content, last, state_key=eve, ts=now_ms())
    await send_as_peer(server, peer, leave)
    peer.answers("POST", SIGN, {}, status=503)
    await alice.sends(dag.room_id, "alone")


async def test_the_signing_endpoint_is_unknown_here(server, peer) -> None:
    """This server is no policy server. Spec: server-server-api/#unsupported-endpoints"""
    reply = await peer.sends(server.name, "POST", SIGN, {})
    assert reply.errcode == (404, "M_UNRECOGNIZED")
