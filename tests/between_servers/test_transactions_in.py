"""Transactions of other servers: what is taken of them, and what is not."""

import json
from collections.abc import AsyncIterator

import pytest

from homeserver.config.sections.presence import PresenceSection
from tests.between_servers.conftest import RunServers
from tests.support.client import Client, clients_of, quoted
from tests.support.federation import NamedServer
from tests.support.key_uploads import CrossSigner
from tests.support.olm import OlmDevice
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


# Devices of others


def listed(eve: RemoteMember, device: OlmDevice, stream_id: int, **more) -> dict:
    keys = device.device_keys()
    return {
        "user_id": eve.user_id,
        "stream_id": stream_id,
        "devices": [{"device_id": device.device_id, "keys": keys}],
        **more,
    }


async def asked_for_keys(alice: Client, eve: RemoteMember) -> dict:
    answer = await alice.post("keys/query", {"device_keys": {eve.user_id: []}})
    return answer["device_keys"].get(eve.user_id, {})


async def waits_for_change(alice: Client, eve: RemoteMember, since: str) -> str:
    """Sync until Eve's devices have changed; return the next token."""
    for _ in range(5):
        answer = await alice.syncs(since, timeout=5000)
        since = answer["next_batch"]
        if eve.user_id in answer.get("device_lists", {}).get("changed", []):
            return since
    raise AssertionError


async def knows_list(eve: RemoteMember) -> int | None:
    """Return as of which update a list is known that is not stale."""
    async with eve.server.running.base.database.connection() as connection:
        return await connection.fetchval(
            "SELECT stream_id FROM remote_device_lists WHERE user_id = $1 AND NOT is_stale",
            eve.user_id,
        )


async def test_device_lists_are_kept_in_step(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    phone, tablet = OlmDevice(eve.user_id, "PHONE"), OlmDevice(eve.user_id, "TABLET")
    eve.peer.answers("GET", path, listed(eve, phone, 10))
    since = (await alice.syncs())["next_batch"]
    # The first one: the list is asked for.
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10, "prev_id": []}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    assert len(eve.peer.asked(path)) == 1
    assert list(await asked_for_keys(alice, eve)) == ["PHONE"]
    # The next one fits.
    since = (await alice.syncs(since))["next_batch"]
    update = {
        "user_id": eve.user_id,
        "device_id": "TABLET",
        "stream_id": 11,
        "prev_id": [10],
        "device_display_name": "Tablet",
        "keys": tablet.device_keys(),
    }
    await eve.says("m.device_list_update", update)
    since = await waits_for_change(alice, eve, since)
    keys = await asked_for_keys(alice, eve)
    assert keys["TABLET"]["unsigned"] == {"device_display_name": "Tablet"}
    assert await knows_list(eve) == 11
    # One is missing: the list is asked for again.
    eve.peer.answers("GET", path, listed(eve, tablet, 14))
    update |= {"stream_id": 14, "prev_id": [13]}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) != 14:
        since = await waits_for_change(alice, eve, since)
    assert list(await asked_for_keys(alice, eve)) == ["TABLET"]
    assert len(eve.peer.asked(path)) == 2
    # One that is known already.
    await eve.says("m.device_list_update", {**update, "deleted": True})
    assert list(await asked_for_keys(alice, eve)) == ["TABLET"]
    update = {"user_id": eve.user_id, "device_id": "TABLET", "stream_id": 15, "prev_id": [14]}
    await eve.says("m.device_list_update", {**update, "deleted": True})
    assert await asked_for_keys(alice, eve) == {}
    assert len(eve.peer.asked(path)) == 2


async def test_the_list_of_who_shares_no_room_any_more_is_forgotten(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    eve.peer.answers("GET", path, listed(eve, OlmDevice(eve.user_id, "PHONE"), 10))
    since = (await alice.syncs())["next_batch"]
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    await eve.makes(room, "m.room.member", {"membership": "leave"}, eve.user_id)
    async with eve.server.running.base.database.connection() as connection:
        for _ in range(1000):
            if await connection.fetchval("SELECT count(*) FROM remote_device_lists") == 0:
                break
        else:
            raise AssertionError


async def test_new_cross_signing_keys_are_told_and_shown(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    eve.peer.answers("GET", path, listed(eve, OlmDevice(eve.user_id, "PHONE"), 10))
    since = (await alice.syncs())["next_batch"]
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    since = (await alice.syncs(since))["next_batch"]
    keys = CrossSigner(eve.user_id).keys
    await eve.says(
        "m.signing_key_update",
        {
            "user_id": eve.user_id,
            "master_key": keys["master_key"],
            "self_signing_key": keys["self_signing_key"],
        },
    )
    await waits_for_change(alice, eve, since)
    answer = await alice.post("keys/query", {"device_keys": {eve.user_id: []}})
    shown = answer["master_keys"][eve.user_id]["keys"]
    assert shown == keys["master_key"]["keys"]
    assert eve.user_id in answer["self_signing_keys"]
