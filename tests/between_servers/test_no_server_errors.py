"""Whatever another server sends, well signed: no answer blames this server, and no work fails.

Each operation gets requests made by `tests/support/request_generator.py`; transactions and
memberships get events and EDUs that `tests/support/forged_events.py` has changed a little.
`HOMESERVER_TEST_REQUESTS` sets how many; CI's number finds what is easy to find.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from homeserver.config.sections.presence import PresenceSection
from homeserver.protocol.errors import InvalidJson
from tests.between_servers.conftest import RunServers
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of, quoted
from tests.support.dag import Dag
from tests.support.federation import NamedServer
from tests.support.forged_events import EventForger, id_of
from tests.support.peer_server import PeerServer, now_ms
from tests.support.remote_member import RemoteMember
from tests.support.request_generator import Request, RequestGenerator, fault_of

COUNT = int(os.environ.get("HOMESERVER_TEST_REQUESTS", "12"))
HELLO = {"msgtype": "m.text", "body": "hello"}
FEDERATION = "/_matrix/federation"


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


def failures(lines: Sequence[Any]) -> list[Any]:
    """Return what has been logged as something that somebody here must act on."""
    return [line for line in lines if line["log_level"] in ("error", "critical")]


async def known(alice: Client, eve: RemoteMember) -> dict[str, tuple[str, ...]]:
    room_id = await alice.creates_room(preset="public_chat", room_alias_name="room")
    await eve.joins(room_id)
    event_id = await alice.sends(room_id, "hello")
    users = (alice.user_id, eve.user_id)
    here = (eve.server.name, eve.peer.name)
    return {
        "room_id": (room_id,),
        "room_alias": (f"#room:{eve.server.name}",),
        "user_id": users,
        "mxid": users,
        "sender": users,
        "event_id": (event_id,),
        "v": (event_id,),
        "latest_events": (event_id,),
        "earliest_events": (event_id,),
        "ver": ("11", "12"),
        "room_version": ("11", "12"),
        "limit": ("0", "1", "10", "100000"),
        "dir": ("b", "f"),
        "server_name": here,
        "key_id": (eve.peer.key.key_id,),
        "query_type": ("profile", "directory"),
        "origin": here,
    }


def authorization(eve: RemoteMember, request: Request) -> str:
    """Sign a request; what has no canonical form is signed as if it had no body."""
    server, method, target = eve.server.name, request.method, request.path
    if request.body is not None:
        with contextlib.suppress(InvalidJson, ValueError, RecursionError):
            return eve.peer.authorization(server, method, target, json.loads(request.body))
    return eve.peer.authorization(server, method, target)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_signed_request_makes_the_server_fail(
    server: NamedServer, alice: Client, eve: RemoteMember, authority: Authority, seed: int
) -> None:
    document = await alice.get("/openapi.json")
    generator = RequestGenerator(document, seed, await known(alice, eve))
    operations = [
        each for each in generator.operations() if each[0].startswith((FEDERATION, "/_matrix/key"))
    ]
    assert len(operations) > 30
    faults: list[str] = []
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    with capture_logs() as lines:
        async with aiohttp.ClientSession(connector=connector) as session:
            for path, method, operation in operations:
                requests = list(generator.requests(path, method, operation, COUNT))
                told = await asyncio.gather(
                    *(
                        fault_of(session, f"https://{server.name}", each, authorization(eve, each))
                        for each in requests
                    )
                )
                faults += [
                    f"{each.method} {each.path[:300]} {(each.body or b'')[:300]!r}: {fault}"
                    for each, fault in zip(requests, told, strict=True)
                    if fault
                ]
            await server.running.receiving.inbox.drained()
    assert not faults, "\n\n".join(faults[:40])
    assert not failures(lines), failures(lines)[:10]


def drafts(dag: Dag, last: list[Any], alice: Client, eve: RemoteMember) -> list[Any]:
    """Return one event of each kind that has rules of its own."""
    member = "m.room.member"
    kinds: list[tuple[str, dict[str, Any], str | None]] = [
        ("m.room.message", HELLO, None),
        ("m.room.message", {"m.relates_to": {"rel_type": "m.thread", "event_id": last[0]}}, None),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": last[0]}}, None),
        ("m.room.redaction", {"redacts": last[0]}, None),
        (member, {"membership": "join", "displayname": "Eve"}, eve.user_id),
        (member, {"membership": "invite"}, alice.user_id),
        ("m.room.power_levels", {"users": {eve.user_id: 100}, "events": {"a": 1}}, ""),
        ("m.room.create", {"room_version": "11"}, ""),
        ("m.room.server_acl", {"allow": ["*"]}, ""),
        ("m.room.name", {"name": "Eve's"}, ""),
        ("org.example.state", {"a": [1, {"b": 2}]}, "key"),
    ]
    return [
        dag.make(eve.user_id, kind, content, last, state_key=key, ts=now_ms(), is_added=False)
        for kind, content, key in kinds
        if kind != "m.room.create" or not dag.rules.room_id_is_create_hash
    ]


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_no_event_that_is_a_little_wrong_makes_the_server_fail(
    server: NamedServer, alice: Client, eve: RemoteMember, version: str
) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version=version)
    # Eve may do most things, so that most of them are looked at closely.
    levels: dict[str, Any] = {"state_default": 0, "redact": 0, "invite": 0}
    levels["events"] = {"m.room.server_acl": 100, "m.room.power_levels": 50}
    if version != "12":
        levels["users"] = {alice.user_id: 100}
    await alice.sets(room_id, "m.room.power_levels", levels)
    await eve.joins(room_id)
    forger = EventForger(7, eve.peer.name, eve.peer.key)
    with capture_logs() as lines:
        for _ in range(COUNT):
            dag, last = await eve.sees(room_id)
            wrong = [forger.changes(e.pdu, dag.rules) for e in drafts(dag, last, alice, eve)]
            reply = await eve.transmits(wrong)
            assert reply.status in (200, 400), (wrong, failures(lines))
            await alice.syncs()
    assert not failures(lines), failures(lines)[:10]
    # The room lives on: Eve may have left it, and everything else may have become hers.
    assert (await alice.syncs())["rooms"]["join"][room_id]
    other = await alice.creates_room(preset="public_chat", room_version=version)
    await eve.joins(other)
    good = await eve.sends_message(other, "good")
    assert (await alice.reads_event(other, good.event_id))["content"]["body"] == "good"


PATHS = [
    ("v2/send_join", "join"),
    ("v1/send_join", "join"),
    ("v2/send_leave", "leave"),
    ("v1/send_leave", "leave"),
    ("v1/send_knock", "knock"),
    ("v1/invite", "invite"),
    ("v2/invite", "invite"),
    ("v1/exchange_third_party_invite", "invite"),
]


@pytest.mark.parametrize("version", ["1", "10", "12"])
async def test_no_membership_that_is_a_little_wrong_makes_the_server_fail(
    server: NamedServer, alice: Client, eve: RemoteMember, version: str
) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version=version)
    forger = EventForger(8, eve.peer.name, eve.peer.key)
    with capture_logs() as lines:
        for number in range(COUNT):
            dag, last = await eve.sees(room_id)
            for name, membership in PATHS:
                content = {"membership": membership}
                target = alice.user_id if membership == "invite" else eve.user_id
                event = dag.make(
                    eve.user_id, "m.room.member", content, last,
                    state_key=target, ts=now_ms(), is_added=False,
                )  # fmt: skip
                pdu = forger.changes(event.pdu, dag.rules) if number else event.pdu
                body: Any = pdu
                if name == "v2/invite":
                    stripped = [{"type": "m.room.create", "content": {}, "sender": "x"}]
                    body = {"event": pdu, "room_version": version, "invite_room_state": stripped}
                    body = forger.changed_value(body) if number % 2 else body
                path = f"{FEDERATION}/{name}/{quoted(room_id)}"
                if "exchange" not in name:
                    path += f"/{quoted(id_of(pdu, dag.rules))}"
                reply = await eve.peer.sends(server.name, "PUT", path, body)
                assert reply.status < 500, (name, body, reply)
    assert not failures(lines), failures(lines)[:10]
    await alice.sends(room_id, "still here")


async def test_no_edu_that_is_a_little_wrong_makes_the_server_fail(
    server: NamedServer, alice: Client, eve: RemoteMember
) -> None:
    room_id = await alice.creates_room(preset="public_chat")
    await eve.joins(room_id)
    event_id = await alice.sends(room_id, "hello")
    me, device = eve.user_id, alice.device_id
    receipt = {"event_ids": [event_id], "data": {"ts": 5, "thread_id": "main"}}
    keys = {"user_id": me, "usage": ["master"], "keys": {"ed25519:x": "x"}, "signatures": {}}
    device_keys = {
        "user_id": me, "device_id": "D", "algorithms": ["a"], "keys": {"ed25519:D": "x"},
        "signatures": {me: {"ed25519:D": "x"}},
    }  # fmt: skip
    good: list[dict[str, Any]] = [
        {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": me, "typing": True}},
        {"edu_type": "m.receipt", "content": {room_id: {"m.read": {me: receipt}}}},
        {
            "edu_type": "m.presence",
            "content": {
                "push": [
                    {"user_id": me, "presence": "online", "status_msg": "x", "last_active_ago": 1}
                ]
            },
        },
        {
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": me, "type": "m.x", "message_id": "1",
                "messages": {alice.user_id: {device: {"a": 1}}},
            },
        },
        {
            "edu_type": "m.device_list_update",
            "content": {
                "user_id": me, "device_id": "D", "stream_id": 1, "prev_id": [],
                "device_display_name": "x", "keys": device_keys,
            },
        },
        {"edu_type": "m.signing_key_update", "content": {"user_id": me, "master_key": keys}},
    ]  # fmt: skip
    forger = EventForger(9, eve.peer.name, eve.peer.key)
    with capture_logs() as lines:
        for _ in range(COUNT * 4):
            reply = await eve.transmits(edus=[forger.changed_value(each) for each in good])
            assert reply.status in (200, 400), reply
    assert not failures(lines), failures(lines)[:10]
    await alice.syncs()
