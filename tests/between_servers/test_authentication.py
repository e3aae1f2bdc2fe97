"""Requests of other servers: who is believed to be who."""

import asyncio
from typing import Any

import msgspec
import pytest

from federation.keys.asking import MAX_AT_ONCE, MAX_OF_ONE_DOMAIN, KeysBusy
from federation.keys.key_ring import KeyRing
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.server_keys import KeyDocument, build_key_document
from homeserver.protocol.signing import sign_json
from homeserver.run.compose import RunningServer
from homeserver.web.authenticators import SignedRequest
from tests.between_servers.conftest import RunServers
from tests.support.federation import NamedServer
from tests.support.peer_server import KEYS, PeerServer, hangs, new_key, now_ms

TARGET = "/_matrix/federation/v1/send/1?a=%2Fb&a=c%20d"
BODY = {"edus": [], "pdus": [{"depth": 1.5, "type": "ä"}]}


async def authenticate(
    running: RunningServer,
    *authorization: str,
    method: str = "PUT",
    uri: str = TARGET,
    content: Any = BODY,
) -> ServerName:
    request = SignedRequest(method=method, uri=uri, authorization=authorization, content=content)
    return await running.federation.server_signatures.authenticate(request)


async def refusal(running: RunningServer, *authorization: str, **request: Any) -> int:
    with pytest.raises(MatrixError) as caught:
        await authenticate(running, *authorization, **request)
    return caught.value.status


def header(peer: PeerServer, server: NamedServer, **forged: Any) -> str:
    return peer.authorization(server.name, "PUT", TARGET, BODY, **forged)


async def test_signed_request_has_its_origin(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    assert await authenticate(running, header(peer, server)) == peer.name
    assert await authenticate(running, header(peer, server)) == peer.name
    assert len(peer.asked(KEYS)) == 1


async def test_destination_may_be_left_out_by_older_servers(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    assert await authenticate(running, header(peer, server, has_destination=False)) == peer.name


async def test_request_for_another_server_is_refused(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    assert await refusal(running, header(peer, server, destination="b.example")) == 401
    assert peer.received == []


async def test_left_out_destination_is_not_the_signed_one(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    """Nobody can take the destination out of a header that was meant for another server."""
    forged = header(peer, server, destination="b.example").replace(',destination="b.example"', "")
    assert await refusal(running, forged) == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "POST"},
        {"uri": TARGET + "x"},
        {"uri": TARGET.replace("%2F", "/")},
        {"uri": TARGET.replace("%20", "+")},
        {"content": {**BODY, "edus": [1]}},
        {"content": None},
        {"content": msgspec.UNSET},
    ],
)
async def test_request_that_was_changed_is_refused(
    running: RunningServer, server: NamedServer, peer: PeerServer, changed: dict[str, Any]
) -> None:
    assert await refusal(running, header(peer, server), **changed) == 401


async def test_forged_origin_is_refused(
    running: RunningServer, server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    forged = header(peer, server, origin=other_peer.name)
    assert await refusal(running, forged) == 401
    same_name = new_key(other_peer.key.key_id.partition(":")[2])
    assert (
        await refusal(running, header(peer, server, origin=other_peer.name, key=same_name)) == 401
    )


async def test_this_server_cannot_be_impersonated(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    assert await refusal(running, header(peer, server, origin=server.name)) == 403


async def test_signatures_of_two_origins_are_refused(
    running: RunningServer, server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    both = header(peer, server), header(other_peer, server)
    assert await refusal(running, *both) == 401


async def test_one_good_signature_of_several_is_enough(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    unknown = header(peer, server, key=new_key("unknown"))
    assert await authenticate(running, unknown, header(peer, server)) == peer.name


@pytest.mark.parametrize("authorization", [(), ("Bearer x",), ("X-Matrix",), ("X-Matrix a=b",)])
async def test_request_without_a_signature_is_refused(
    running: RunningServer, authorization: tuple[str, ...]
) -> None:
    assert await refusal(running, *authorization) == 401


async def test_origin_without_keys_is_refused(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    peer.answers("GET", KEYS, {}, status=404)
    assert await refusal(running, header(peer, server)) == 401
    # It is not asked again and again.
    assert await refusal(running, header(peer, server)) == 401
    assert len(peer.asked(KEYS)) == 1


async def test_expired_key_does_not_sign_requests(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    peer.publishes_keys(valid_until_ts=now_ms() - 1000)
    assert await refusal(running, header(peer, server)) == 401


async def test_old_key_does_not_sign_requests(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    old = new_key("old")
    peer.publishes_keys(
        build_key_document(
            peer.name,
            peer.key,
            old_keys={old.key_id: (old.verify_key, now_ms() + 100_000)},
            valid_until_ts=now_ms() + 100_000,
        )
    )
    assert await refusal(running, header(peer, server, key=old)) == 401
    assert await authenticate(running, header(peer, server)) == peer.name


async def test_keys_that_were_signed_by_somebody_else_are_not_believed(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    document = peer.publishes_keys()
    document.pop("signatures")
    peer.publishes_keys(sign_json(document, peer.name, new_key("a_peer")))
    assert await refusal(running, header(peer, server)) == 401


@pytest.mark.parametrize("settings", [{"allow": ("b.example",)}, {"block": ("127.0.0.*",)}])
async def test_blocked_servers_are_refused_and_not_contacted(
    running_servers: RunServers, peer: PeerServer, settings: dict[str, Any]
) -> None:
    async with running_servers(1, federation=settings) as [server]:
        assert await refusal(server.running, header(peer, server)) == 403
        assert peer.received == []


async def test_nobody_is_believed_without_federation(
    running_servers: RunServers, peer: PeerServer
) -> None:
    async with running_servers(1, federation={"enabled": False}) as [server]:
        assert await refusal(server.running, header(peer, server)) == 401
        reply = await peer.sends(server.name, "GET", "/_matrix/key/v2/server", authorization="")
        assert reply.errcode == (404, "M_UNRECOGNIZED")


async def test_server_that_speaks_is_asked_even_if_it_was_silent(
    running: RunningServer, server: NamedServer, peer: PeerServer
) -> None:
    destinations = running.federation.destinations
    await destinations.failed(peer.name, started_ts=now_ms(), retry_after_ms=3_600_000)
    assert await destinations.is_backing_off(peer.name)
    assert await authenticate(running, header(peer, server)) == peer.name
    assert not await destinations.is_backing_off(peer.name)


async def test_server_that_hangs_while_asked_for_keys_holds_nobody_else_up(
    running: RunningServer, server: NamedServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    peer.answers("GET", KEYS, hangs)
    waiting = asyncio.ensure_future(authenticate(running, header(peer, server)))
    assert await authenticate(running, header(other_peer, server)) == other_peer.name
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


class Tarpit:
    """Tells whom it is asked about, and answers nothing before `is_over`."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[ServerName] = asyncio.Queue()
        self.is_over = asyncio.Event()

    async def from_server(self, server: ServerName, *, ignore_backoff: bool) -> KeyDocument | None:
        self.asked.put_nowait(server)
        await self.is_over.wait()
        return None

    async def from_notaries(self, wanted: object) -> list[KeyDocument]:
        return []


@pytest.mark.parametrize(
    ("made_up", "count", "one_more", "another"),
    [
        ("a{}.evil.example", MAX_OF_ONE_DOMAIN, "b.EVIL.example:1", "evil.test"),
        ("192.0.2.{}", MAX_OF_ONE_DOMAIN, "[2001:db8::1]:1", "evil.test"),
        ("a{0}.evil{0}.example", MAX_AT_ONCE, "evil.test", None),
    ],
)
async def test_made_up_origins_leave_others_their_place_and_are_refused_at_once(
    running: RunningServer, made_up: str, count: int, one_more: str, another: str | None
) -> None:
    source = Tarpit()
    base, own_keys = running.base, running.federation.own_keys
    ring = KeyRing(
        own_keys=own_keys, source=source, database=base.database, clock=base.clock, tasks=base.tasks
    )

    async def asks(server: str) -> None:
        assert await ring.request_key(ServerName(server), KeyID("ed25519:a")) is None

    async with asyncio.TaskGroup() as waiting:
        # The second ones wait for the first.
        for name in [made_up.format(number) for number in range(count)] * 2:
            waiting.create_task(asks(name))
        assert len({await source.asked.get() for _ in range(count)}) == count
        with pytest.raises(KeysBusy):
            await asks(one_more)
        # A notary's query gets what there is.
        await ring.refresh([ServerName(one_more)])
        assert source.asked.empty()
        if another is not None:
            waiting.create_task(asks(another))
            assert await source.asked.get() == another
        source.is_over.set()
    # Whom there was no place for was not held to be silent.
    await asks(one_more)
    assert source.asked.get_nowait() == one_more
