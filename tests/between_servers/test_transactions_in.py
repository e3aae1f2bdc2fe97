"""Transactions of other servers: what is taken of them, and what is not."""

import json
from collections.abc import AsyncIterator

import pytest

from homeserver.config.sections.presence import PresenceSection
from tests.between_servers.conftest import RunServers
from tests.support.client import Client, clients_of, quoted
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer
from tests.support.remote_member import RemoteMember

HELLO = {"msgtype": "m.text", "body": "hello"}


@pytest.fixture
async def server(running_servers: RunServers) -> AsyncIterator[NamedServer]:
    async with running_servers(1, presence=PresenceSection()) as [only]:
        yield only


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as clients:
        yield await clients.user("alice")


@pytest.fixture
def eve(server: NamedServer, peer: PeerServer) -> RemoteMember:
    return RemoteMember(server, peer, "eve")


@pytest.fixture
async def room(alice: Client, eve: RemoteMember) -> str:
    """A room of Alice and Eve."""
    room_id = await alice.creates_room(preset="public_chat")
    await eve.joins(room_id)
    return room_id


async def ephemeral(alice: Client, room: str, event_type: str) -> list[dict]:
    """Return the contents of a type that a first sync shows."""
    joined = (await alice.syncs())["rooms"]["join"][room]
    return [e["content"] for e in joined["ephemeral"]["events"] if e["type"] == event_type]


async def test_typing_is_shown(alice, eve, room):
    await eve.says("m.typing", {"room_id": room, "user_id": eve.user_id, "typing": True})
    assert await ephemeral(alice, room, "m.typing") == [{"user_ids": [eve.user_id]}]


async def test_receipts_are_shown(alice, eve, room):
    event_id = await alice.sends(room, "hello")
    receipt = {"event_ids": [event_id], "data": {"ts": 5}}
    await eve.says("m.receipt", {room: {"m.read": {eve.user_id: receipt}}})
    assert await ephemeral(alice, room, "m.receipt") == [
        {event_id: {"m.read": {eve.user_id: {"ts": 5}}}}
    ]


async def test_presence_is_shown(alice, eve, room):
    push = [{"user_id": eve.user_id, "presence": "online", "status_msg": "hi"}]
    await eve.says("m.presence", {"push": push})
    status = await alice.get(f"presence/{quoted(eve.user_id)}/status")
    assert (status["presence"], status["status_msg"]) == ("online", "hi")


async def test_presence_is_not_taken_where_it_is_not_wanted(running_servers, peer):
    presence = PresenceSection(take_from_servers=False)
    async with running_servers(1, presence=presence) as [server], clients_of(server.url) as clients:
        alice, eve = await clients.user("alice"), RemoteMember(server, peer, "eve")
        await eve.joins(await alice.creates_room(preset="public_chat"))
        push = [{"user_id": eve.user_id, "presence": "online"}]
        await eve.says("m.presence", {"push": push})
        await eve.transmits()
        async with server.running.base.database.connection() as connection:
            users = await connection.fetch("SELECT user_id FROM presence WHERE pos > 0")
        assert eve.user_id not in {row["user_id"] for row in users}


async def test_messages_to_devices_arrive_once(alice, eve, room):
    content = {
        "sender": eve.user_id,
        "type": "m.test",
        "message_id": "one",
        "messages": {alice.user_id: {alice.device_id: {"n": 1}}},
    }
    await eve.says("m.direct_to_device", content)
    await eve.says("m.direct_to_device", content)
    events = (await alice.syncs())["to_device"]["events"]
    assert events == [{"sender": eve.user_id, "type": "m.test", "content": {"n": 1}}]


async def test_a_transaction_that_comes_again_gets_the_same_answer(alice, eve, room):
    dag, last = await eve.sees(room)
    bad = {**dag.make(eve.user_id, "m.room.message", HELLO, last).pdu, "signatures": {}}
    first = await eve.transmits([bad], txn_id="same")
    assert first.status == 200
    assert await eve.transmits([], txn_id="same") == first
    assert (await eve.transmits([], txn_id="other")).json == {"pdus": {}}


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"pdus": [{}] * 51}, "M_INVALID_PARAM"),
        ({"edus": [{}] * 101}, "M_INVALID_PARAM"),
        ({"origin": "evil.example"}, "M_INVALID_PARAM"),
        ({"pdus": {}}, "M_BAD_JSON"),
        ({"edus": "no"}, "M_BAD_JSON"),
    ],
)
async def test_a_transaction_of_a_wrong_form_is_refused(eve, body, errcode):
    whole = {"origin": eve.peer.name, "origin_server_ts": 1, "pdus": [], **body}
    reply = await eve.peer.sends(eve.server.name, "PUT", "/_matrix/federation/v1/send/one", whole)
    assert reply.errcode == (400, errcode)


async def test_a_transaction_without_signature_is_refused(eve):
    path = "/_matrix/federation/v1/send/one"
    reply = await eve.peer.sends(eve.server.name, "PUT", path, {}, authorization="Basic x")
    assert reply.errcode == (401, "M_UNAUTHORIZED")


WRONG_EDUS = [
    None,
    5,
    [],
    {},
    {"edu_type": "m.typing"},
    {"edu_type": 5, "content": {}},
    {"edu_type": "m.unknown", "content": {"a": 1}},
    {"edu_type": "m.typing", "content": {"room_id": 5, "user_id": "ME", "typing": True}},
    {"edu_type": "m.typing", "content": {"room_id": "ROOM", "user_id": "ALICE", "typing": True}},
    {"edu_type": "m.typing", "content": {"room_id": "!no:x", "user_id": "ME", "typing": True}},
    {"edu_type": "m.receipt", "content": {"ROOM": {"m.read": {"ALICE": {"event_ids": ["$x"]}}}}},
    {"edu_type": "m.receipt", "content": {"ROOM": 5, "!x:y": {"m.read": []}}},
    {"edu_type": "m.presence", "content": {"push": 5}},
    {"edu_type": "m.presence", "content": {"push": [{"user_id": "ALICE", "presence": "online"}]}},
    {"edu_type": "m.direct_to_device", "content": {"sender": "ALICE", "messages": {}}},
    {
        "edu_type": "m.direct_to_device",
        "content": {
            "sender": "ALICE", "type": "m.x", "message_id": "1", "messages": {"ALICE": {"*": {}}}
        },
    },
    {
        "edu_type": "m.device_list_update",
        "content": {"user_id": "ALICE", "device_id": "D", "stream_id": 1},
    },
    {
        "edu_type": "m.device_list_update",
        "content": {"user_id": "ME", "device_id": "D", "stream_id": "1"},
    },
    {
        "edu_type": "m.device_list_update",
        "content": {"user_id": "ME", "device_id": "D", "stream_id": 2**70},
    },
    {"edu_type": "m.signing_key_update", "content": {"user_id": "ALICE", "master_key": {}}},
    {"edu_type": "m.signing_key_update", "content": {"user_id": "ME", "master_key": {"a": 1}}},
]  # fmt: skip


async def test_wrong_edus_change_nothing_and_spoil_no_others(alice, eve, room):
    since = (await alice.syncs())["next_batch"]
    text = json.dumps(WRONG_EDUS).replace("ROOM", room).replace("ALICE", alice.user_id)
    wrong = json.loads(text.replace('"ME"', json.dumps(eve.user_id)))
    good = {
        "edu_type": "m.typing",
        "content": {"room_id": room, "user_id": eve.user_id, "typing": True},
    }
    reply = await eve.transmits(edus=[*wrong, good])
    assert (reply.status, reply.json) == (200, {"pdus": {}})
    answer = await alice.syncs(since)
    assert answer["rooms"]["join"][room]["ephemeral"]["events"] == [
        {"type": "m.typing", "content": {"user_ids": [eve.user_id]}}
    ]
    assert "to_device" not in answer or not answer["to_device"]["events"]
    assert eve.user_id not in answer.get("device_lists", {}).get("changed", [])


async def test_what_a_banned_server_says_of_a_room_is_not_taken(alice, eve, room):
    event_id = await alice.sends(room, "hello")
    acl = {"allow": ["*"], "deny": ["127.0.0.1"]}
    await alice.sets(room, "m.room.server_acl", acl)
    receipt = {"event_ids": [event_id], "data": {"ts": 5}}
    await eve.says("m.typing", {"room_id": room, "user_id": eve.user_id, "typing": True})
    await eve.says("m.receipt", {room: {"m.read": {eve.user_id: receipt}}})
    assert await ephemeral(alice, room, "m.typing") == []
    assert await ephemeral(alice, room, "m.receipt") == []
    dag, last = await eve.sees(room)
    event = dag.make(eve.user_id, "m.room.message", HELLO, last)
    reply = await eve.transmits([event.pdu])
    assert reply.json["pdus"][event.event_id]["error"]
