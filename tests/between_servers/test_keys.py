"""The keys of this server, and those of others through it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from federation.keys.key_ring import MAX_KEPT
from homeserver.config.sections.federation import TrustedKeyServer
from homeserver.config.sections.signing import OldVerifyKey, SigningSection
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.server_keys import MAX_KEYS, build_key_document, read_key_document
from homeserver.protocol.signing import sign_json, verify_json
from homeserver.run.compose import RunningServer
from tests.between_servers.conftest import RunServers
from tests.support.federation import NamedServer
from tests.support.peer_server import DAY_MS, KEYS, PeerServer, new_key, now_ms

QUERY = "/_matrix/key/v2/query"
OLD = new_key("old")


async def ask(server: NamedServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, json=body) as response,
    ):
        return response.status, await response.json()


async def test_own_keys_are_published(running_servers: RunServers) -> None:
    old = OldVerifyKey(key_id=OLD.key_id, key=OLD.verify_key, expired_ts=5)
    signing = SigningSection(old_verify_keys=(old,), validity_days=2)
    async with running_servers(1, signing=signing) as [server]:
        status, document = await ask(server, "GET", KEYS)
        assert status == 200
        read = read_key_document(document, server.name, now_ms())
        current, kept = read.keys
        assert current.key == server.running.federation.own_keys.signing_key.verify_key
        assert now_ms() + DAY_MS < current.valid_until_ts <= now_ms() + 2 * DAY_MS
        assert (kept.key_id, kept.key, kept.expired_ts) == (OLD.key_id, OLD.verify_key, 5)
        assert await ask(server, "GET", f"{KEYS}/ed25519:any") == (200, document)


async def test_version_names_the_program(server: NamedServer) -> None:
    status, answer = await ask(server, "GET", "/_matrix/federation/v1/version")
    assert status == 200
    assert answer["server"]["name"] == "matrix-homeserver"
    assert isinstance(answer["server"]["version"], str)


async def test_delegation_is_told_when_there_is_one(running_servers: RunServers) -> None:
    path = "/.well-known/matrix/server"
    async with running_servers(1, federation={"delegate_to": "m.example:443"}) as [server]:
        assert await ask(server, "GET", path) == (200, {"m.server": "m.example:443"})
    async with running_servers(1) as [server]:
        status, answer = await ask(server, "GET", path)
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")


async def test_notary_adds_its_signature(server: NamedServer, peer: PeerServer) -> None:
    document = peer.publishes_keys()
    status, answer = await ask(server, "GET", f"{QUERY}/{peer.name}")
    assert status == 200
    [told] = answer["server_keys"]
    key = server.running.federation.own_keys.signing_key
    verify_json(told, server.name, key.key_id, key.verify_key)
    verify_json(told, peer.name, peer.key.key_id, peer.key.verify_key)
    assert told["signatures"].keys() == {server.name, peer.name}
    assert {**told, "signatures": document["signatures"]} == document


async def test_notary_answers_about_several_servers_and_itself(
    server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    other_peer.answers("GET", KEYS, {}, status=404)
    wanted = {
        peer.name: {peer.key.key_id: {"minimum_valid_until_ts": now_ms()}},
        other_peer.name: {"ed25519:x": {}},
        server.name: {},
        "unknown.invalid": {},
    }
    status, answer = await ask(server, "POST", QUERY, {"server_keys": wanted})
    assert status == 200
    assert {each["server_name"] for each in answer["server_keys"]} == {peer.name, server.name}


async def test_notary_keeps_what_it_has_when_a_server_is_gone(
    server: NamedServer, peer: PeerServer
) -> None:
    await ask(server, "GET", f"{QUERY}/{peer.name}")
    peer.answers("GET", KEYS, {}, status=502)
    later = now_ms() + 3 * DAY_MS
    status, answer = await ask(server, "GET", f"{QUERY}/{peer.name}?minimum_valid_until_ts={later}")
    assert status == 200
    assert [each["server_name"] for each in answer["server_keys"]] == [peer.name]


async def test_notary_keeps_answers_for_half_of_their_lifetime(
    server: NamedServer, peer: PeerServer
) -> None:
    for _ in range(3):
        await ask(server, "GET", f"{QUERY}/{peer.name}")
    assert len(peer.asked(KEYS)) == 1


async def test_notary_of_nobody_answers_nothing(server: NamedServer) -> None:
    assert await ask(server, "POST", QUERY, {"server_keys": {}}) == (200, {"server_keys": []})


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"server_keys": []}, "M_BAD_JSON"),
        ({"server_keys": {"a.example": []}}, "M_BAD_JSON"),
        ({"server_keys": {"a.example": {"ed25519:1": 5}}}, "M_BAD_JSON"),
        (
            {"server_keys": {"a.example": {"ed25519:1": {"minimum_valid_until_ts": "x"}}}},
            "M_BAD_JSON",
        ),
        ({"server_keys": {"not a name": {}}}, "M_INVALID_PARAM"),
        ({"server_keys": {f"s{number}.example": {} for number in range(501)}}, "M_INVALID_PARAM"),
    ],
)
async def test_malformed_query_is_refused(
    server: NamedServer, body: dict[str, Any], errcode: str
) -> None:
    status, answer = await ask(server, "POST", QUERY, body)
    assert (status, answer["errcode"]) == (400, errcode)


async def test_malformed_name_is_refused(server: NamedServer) -> None:
    status, answer = await ask(server, "GET", f"{QUERY}/not%20a%20name")
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")


async def found(running: RunningServer, peer: PeerServer, minimum_ts: int = 0) -> str | None:
    """Return the public key that is known under the ID of the peer's key."""
    key_id = peer.key.key_id
    keys = await running.federation.key_ring.keys_of({peer.name: {key_id: minimum_ts}})
    key = keys.get((peer.name, key_id))
    return None if key is None else key.key


async def test_keys_survive_a_restart(
    running_servers: RunServers, peer: PeerServer, running: RunningServer
) -> None:
    assert await found(running, peer) == peer.key.verify_key
    forgetful = running.federation.key_ring
    forgetful._known.clear()
    forgetful._asked.clear()
    assert await found(running, peer) == peer.key.verify_key
    assert len(peer.asked(KEYS)) == 1


async def test_key_is_asked_for_once_however_many_want_it(
    running: RunningServer, peer: PeerServer
) -> None:
    await asyncio.gather(*(found(running, peer) for _ in range(20)))
    assert len(peer.asked(KEYS)) == 1


async def test_key_that_does_not_last_long_enough_is_asked_for_again(
    running: RunningServer, peer: PeerServer
) -> None:
    peer.publishes_keys(valid_until_ts=now_ms() + 1000)
    await found(running, peer)
    running.federation.key_ring._asked.clear()
    peer.publishes_keys()
    keys = await running.federation.key_ring.keys_of(
        {peer.name: {peer.key.key_id: now_ms() + DAY_MS // 2}}
    )
    assert keys[peer.name, peer.key.key_id].is_valid_at(now_ms() + DAY_MS // 2)


async def test_server_may_change_its_key(running: RunningServer, peer: PeerServer) -> None:
    first = await found(running, peer)
    peer.key = new_key()
    peer.publishes_keys()
    running.federation.key_ring._asked.clear()
    assert await found(running, peer, now_ms() + 2 * DAY_MS) == peer.key.verify_key != first


async def test_server_that_always_has_other_keys_does_not_fill_the_memory(
    running: RunningServer, peer: PeerServer
) -> None:
    ring = running.federation.key_ring
    for number in range(MAX_KEPT // MAX_KEYS + 2):
        spare = {f"ed25519:{number}_{n}": {"key": OLD.verify_key} for n in range(MAX_KEYS - 1)}
        current = {peer.key.key_id: {"key": peer.key.verify_key}}
        peer.publishes_keys(verify_keys={**spare, **current})
        ring._asked.clear()
        await ring.refresh([peer.name])
    assert len(ring._known[peer.name]) == MAX_KEPT
    # What is told of still is kept.
    assert {*spare, *current} <= ring._known[peer.name].keys()


def vouches(notary: PeerServer, *others: PeerServer, **members: Any) -> None:
    """Let a notary answer with the keys of others."""
    documents = [
        build_key_document(each.name, each.key, old_keys={}, valid_until_ts=now_ms() + DAY_MS)
        for each in others
    ]
    signed = [sign_json({**each, **members}, notary.name, notary.key) for each in documents]
    notary.answers("POST", QUERY, {"server_keys": signed})


@pytest.mark.parametrize("is_configured", [True, False])
async def test_notary_is_asked_for_keys_of_a_server_that_is_gone(
    running_servers: RunServers, peer: PeerServer, other_peer: PeerServer, *, is_configured: bool
) -> None:
    notary, gone = peer, other_peer
    gone.answers("GET", KEYS, {}, status=502)
    vouches(notary, gone)
    keys = {notary.key.key_id: notary.key.verify_key} if is_configured else {}
    trusted = TrustedKeyServer(server_name=notary.name, verify_keys=keys)
    async with running_servers(1, federation={"trusted_key_servers": (trusted,)}) as [server]:
        assert await found(server.running, gone) == gone.key.verify_key
    assert len(notary.asked(KEYS)) == (0 if is_configured else 1)


async def test_notary_that_signs_with_another_key_is_not_believed(
    running_servers: RunServers, peer: PeerServer, other_peer: PeerServer
) -> None:
    notary, gone = peer, other_peer
    gone.answers("GET", KEYS, {}, status=502)
    vouches(notary, gone)
    keys = {notary.key.key_id: new_key().verify_key}
    trusted = TrustedKeyServer(server_name=notary.name, verify_keys=keys)
    async with running_servers(1, federation={"trusted_key_servers": (trusted,)}) as [server]:
        assert await found(server.running, gone) is None


async def test_notary_cannot_make_keys_up(
    running_servers: RunServers, peer: PeerServer, other_peer: PeerServer
) -> None:
    notary, gone = peer, other_peer
    gone.answers("GET", KEYS, {}, status=502)
    forged = {"verify_keys": {gone.key.key_id: {"key": new_key().verify_key}}}
    vouches(notary, gone, **forged)
    trusted = TrustedKeyServer(server_name=notary.name)
    async with running_servers(1, federation={"trusted_key_servers": (trusted,)}) as [server]:
        assert await found(server.running, gone) is None


async def test_keys_of_many_servers_are_asked_of_the_notary_at_once(
    running_servers: RunServers, peer: PeerServer
) -> None:
    trusted = TrustedKeyServer(server_name=peer.name)
    peer.answers("POST", QUERY, {"server_keys": [5, {"server_name": "x y"}]})
    async with running_servers(1, federation={"trusted_key_servers": (trusted,)}) as [server]:
        wanted = {ServerName(f"127.0.0.1:{port}"): {KeyID("ed25519:1"): 5} for port in range(1, 21)}
        assert await server.running.federation.key_ring.keys_of(wanted) == {}
    [received] = peer.asked(QUERY)
    assert b'"minimum_valid_until_ts":5' in received.body
    assert received.body.count(b"127.0.0.1:") == 20
