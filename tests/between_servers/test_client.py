"""Asking other servers: what goes out, what is taken from answers, and what they cannot do."""

import asyncio
import json

import pytest
from aiohttp import web

from federation.transport.client import FederationClient, path_of
from federation.transport.failures import (
    RemoteBackingOff,
    RemoteBadAnswer,
    RemoteNotAllowed,
    RemoteRefusal,
    RemoteUnreachable,
)
from federation.x_matrix import read_authorization, signed_object
from homeserver.config.values import IpRange
from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import verify_json
from homeserver.run.compose import RunningServer
from homeserver.web.paths import FEDERATION_V1
from tests.between_servers.conftest import RunServers
from tests.support.certificates import Authority
from tests.support.federation import NamedServer
from tests.support.peer_server import (
    PeerServer,
    Script,
    drips,
    hangs,
    never_ends,
    peer_server,
    text,
)
from tests.support.processes import free_port

PATH = "/_matrix/federation/v1/version"


@pytest.fixture
def client(running: RunningServer) -> FederationClient:
    return running.federation.client


async def test_request_is_signed_for_its_destination(
    client: FederationClient, running: RunningServer, peer: PeerServer, server: NamedServer
) -> None:
    path = path_of(FEDERATION_V1, "send", "a/b c")
    peer.answers("PUT", path, {"pdus": {}})
    body = {"ä": [1.5], "edus": []}
    assert await client.put(peer.name, path, query={"x": ["1", "ö"], "n": 2}, body=body) == {
        "pdus": {}
    }
    [received] = peer.received
    assert received.target == "/_matrix/federation/v1/send/a%2Fb%20c?x=1&x=%C3%B6&n=2"
    assert json.loads(received.body) == body
    assert received.headers["Host"] == peer.name
    assert received.headers["Content-Type"] == "application/json"
    claims = read_authorization(received.headers["Authorization"])
    assert (claims.origin, claims.destination) == (server.name, peer.name)
    signed = signed_object(claims, method="PUT", uri=received.target, content=body)
    key = running.federation.own_keys.signing_key
    verify_json(signed, server.name, key.key_id, key.verify_key)


async def test_connection_is_used_again(client: FederationClient, peer: PeerServer) -> None:
    ports = set()

    async def script(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    peer.answers("GET", PATH, script)
    for _ in range(3):
        await client.get(peer.name, PATH)
    assert len(ports) == 1


async def test_pair_of_the_first_version_is_unwrapped(
    client: FederationClient, peer: PeerServer
) -> None:
    peer.answers("PUT", PATH, text('[200, {"event": {}}]'))
    assert await client.put(peer.name, PATH, body={}) == {"event": {}}


@pytest.mark.parametrize(
    "script",
    [
        text("<html>"),
        text(""),
        text("[]"),
        text('"text"'),
        text('{"a": NaN}'),
        text("[" * 100_000),
        text("{}", status=302, Location="/elsewhere"),
        text("{}", Content_Length="2", X="y", status=304),
        never_ends,
        text(json.dumps({"a": "x" * 5000})),
    ],
    ids=["html", "empty", "list", "text", "nan", "deep", "redirect", "304", "endless", "large"],
)
async def test_unusable_answer_is_the_servers_fault(
    client: FederationClient, peer: PeerServer, script: Script
) -> None:
    peer.answers("GET", PATH, script)
    with pytest.raises(RemoteBadAnswer):
        await client.get(peer.name, PATH, max_bytes=4096)


async def test_compressed_answer_counts_by_what_comes_out(
    client: FederationClient, peer: PeerServer
) -> None:
    async def bomb(_request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text=json.dumps({"a": "x" * 10_000_000}))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    peer.answers("GET", PATH, bomb)
    with pytest.raises(RemoteBadAnswer):
        await client.get(peer.name, PATH, max_bytes=100_000)


@pytest.mark.parametrize("script", [hangs, drips])
async def test_slow_answer_is_cut_off(
    client: FederationClient, peer: PeerServer, script: Script
) -> None:
    peer.answers("GET", PATH, script)
    with pytest.raises(RemoteUnreachable):
        await client.get(peer.name, PATH, timeout_ms=200)


async def test_oversized_headers_are_refused(client: FederationClient, peer: PeerServer) -> None:
    peer.answers("GET", PATH, text("{}", X_Large="x" * 20_000))
    with pytest.raises(RemoteUnreachable):
        await client.get(peer.name, PATH)


async def test_refusal_is_handed_on(client: FederationClient, peer: PeerServer) -> None:
    refusal = {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "no", "room_version": "9"}
    peer.answers("GET", PATH, refusal, status=400)
    with pytest.raises(RemoteRefusal) as caught:
        await client.get(peer.name, PATH)
    assert (caught.value.status, caught.value.errcode) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert caught.value.answer["room_version"] == "9"
    assert not caught.value.is_temporary


@pytest.mark.parametrize("body", ["<html>", '{"errcode": 5}', "[1]"])
async def test_refusal_in_another_form_keeps_its_status(
    client: FederationClient, peer: PeerServer, body: str
) -> None:
    peer.answers("GET", PATH, text(body, status=403))
    with pytest.raises(RemoteRefusal) as caught:
        await client.get(peer.name, PATH)
    assert (caught.value.status, caught.value.errcode) == (403, None)


async def test_certificate_must_be_for_the_name(
    client: FederationClient, authority: Authority
) -> None:
    async with peer_server(authority, host="localhost") as peer:
        peer.answers("GET", PATH, {"server": {}})
        assert await client.get(peer.name, PATH) == {"server": {}}
        impostor = ServerName(peer.name.replace("localhost", "127.0.0.1"))
        with pytest.raises(RemoteUnreachable):
            await client.get(impostor, PATH)
        assert len(peer.received) == 1


async def test_certificate_must_be_of_a_trusted_authority(
    client: FederationClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with peer_server(Authority(tmp_path_factory.mktemp("stranger"))) as peer:
        with pytest.raises(RemoteUnreachable):
            await client.get(peer.name, PATH)
        assert peer.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_not_contacted(
    running_servers: RunServers, authority: Authority, host: str
) -> None:
    async with (
        running_servers(1, federation={"allowed_ip_ranges": ()}) as [server],
        peer_server(authority) as peer,
    ):
        port = peer.name.rpartition(":")[2]
        client = server.running.federation.client
        with pytest.raises(RemoteUnreachable):
            await client.get(ServerName(f"{host}:{port}"), PATH)
        with pytest.raises(RemoteUnreachable):
            async with client.open_url(f"https://{host}:{port}/"):
                pass
        assert peer.received == []


@pytest.mark.parametrize(
    "settings", [{"enabled": False}, {"allow": ("b.example",)}, {"block": ("127.0.0.*",)}]
)
async def test_servers_that_are_not_allowed_are_not_contacted(
    running_servers: RunServers, peer: PeerServer, settings: dict[str, object]
) -> None:
    async with running_servers(1, federation=settings) as [server]:
        with pytest.raises(RemoteNotAllowed):
            await server.running.federation.client.get(peer.name, PATH)
        assert peer.received == []


async def test_server_does_not_ask_itself(client: FederationClient, server: NamedServer) -> None:
    with pytest.raises(RemoteNotAllowed):
        await client.get(server.name, PATH)


async def test_dead_server_is_left_alone_and_tried_when_asked_to(
    client: FederationClient, authority: Authority
) -> None:
    dead = ServerName(f"127.0.0.1:{free_port()}")
    with pytest.raises(RemoteUnreachable):
        await client.get(dead, PATH)
    with pytest.raises(RemoteBackingOff):
        await client.get(dead, PATH)
    with pytest.raises(RemoteUnreachable):
        await client.get(dead, PATH, ignore_backoff=True)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_busy_server_is_left_alone_until_it_answers(
    client: FederationClient, running: RunningServer, peer: PeerServer, status: int
) -> None:
    peer.answers("GET", PATH, {"errcode": "M_UNKNOWN", "retry_after_ms": 50_000}, status=status)
    with pytest.raises(RemoteRefusal) as caught:
        await client.get(peer.name, PATH)
    assert caught.value.is_temporary
    retry_ts = await running.federation.destinations.retry_ts(peer.name)
    assert retry_ts is not None
    assert retry_ts > running.base.clock.now_ms() + 40_000
    with pytest.raises(RemoteBackingOff):
        await client.get(peer.name, PATH)
    peer.answers("GET", PATH, {})
    await client.get(peer.name, PATH, ignore_backoff=True)
    await client.get(peer.name, PATH)


async def test_refusal_is_no_reason_to_leave_a_server_alone(
    client: FederationClient, running: RunningServer, peer: PeerServer
) -> None:
    with pytest.raises(RemoteRefusal):
        await client.get(peer.name, PATH)
    assert not await running.federation.destinations.is_backing_off(peer.name)


async def test_failures_at_the_same_time_count_once(
    client: FederationClient, running: RunningServer
) -> None:
    dead = ServerName(f"127.0.0.1:{free_port()}")
    asked = (client.get(dead, PATH) for _ in range(10))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, RemoteError) for each in results)
    retry_ts = await running.federation.destinations.retry_ts(dead)
    assert retry_ts is not None
    assert retry_ts <= running.base.clock.now_ms() + 1000


MEDIA = "/_matrix/federation/v1/media/download/x"


async def test_stream_hands_out_what_comes(client: FederationClient, peer: PeerServer) -> None:
    peer.answers("GET", MEDIA, text("x" * 100_000, Content_Type="multipart/mixed; boundary=b"))
    async with client.stream(peer.name, MEDIA, query={"timeout_ms": 5}) as stream:
        assert stream.content_type == "multipart/mixed; boundary=b"
        assert stream.content_length == 100_000
        assert b"".join([piece async for piece in stream.chunks()]) == b"x" * 100_000
    assert "Authorization" in peer.received[0].headers


async def test_stream_ends_at_its_limit(client: FederationClient, peer: PeerServer) -> None:
    peer.answers("GET", MEDIA, never_ends)
    async with client.stream(peer.name, MEDIA, max_bytes=200_000) as stream:
        with pytest.raises(RemoteBadAnswer):
            [piece async for piece in stream.chunks()]


async def test_stalling_stream_is_cut_off(client: FederationClient, peer: PeerServer) -> None:
    peer.answers("GET", MEDIA, drips)
    async with client.stream(peer.name, MEDIA, timeout_ms=200) as stream:
        with pytest.raises(RemoteUnreachable):
            [piece async for piece in stream.chunks()]


async def test_refused_stream_is_a_refusal(client: FederationClient, peer: PeerServer) -> None:
    with pytest.raises(RemoteRefusal):
        async with client.stream(peer.name, MEDIA):
            pytest.fail("there is no such media")


async def test_redirect_of_media_is_followed_once_and_unsigned(
    client: FederationClient, peer: PeerServer, other_peer: PeerServer
) -> None:
    peer.answers("GET", MEDIA, text("", 307, Location=f"https://{other_peer.name}/cdn?a=%2F"))
    other_peer.answers("GET", "/cdn", text("content"))
    async with client.stream(peer.name, MEDIA, follow_redirect=True) as stream:
        assert [piece async for piece in stream.chunks()] == [b"content"]
    [received] = other_peer.received
    assert received.target == "/cdn?a=%2F"
    assert "Authorization" not in received.headers
    with pytest.raises(RemoteBadAnswer):
        async with client.stream(peer.name, MEDIA):
            pytest.fail("redirects are not followed unless asked for")
    other_peer.answers("GET", "/cdn", text("", 302, Location=f"https://{peer.name}/"))
    with pytest.raises(RemoteBadAnswer):
        async with client.stream(peer.name, MEDIA, follow_redirect=True):
            pytest.fail("a second redirect is not followed")


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1/", "https://", "file:///etc/passwd", "https://[", "https://a:99999/", ""],
)
async def test_redirect_to_what_is_no_https_url_is_refused(
    client: FederationClient, peer: PeerServer, location: str
) -> None:
    peer.answers("GET", MEDIA, text("", 307, Location=location))
    with pytest.raises(RemoteError):
        async with client.stream(peer.name, MEDIA, follow_redirect=True):
            pytest.fail("there is nothing to be had")


async def test_redirect_to_a_private_address_is_refused(
    running_servers: RunServers, peer: PeerServer, other_peer: PeerServer
) -> None:
    only_peer = IpRange("127.0.0.1/32")
    port = other_peer.name.rpartition(":")[2]
    peer.answers("GET", MEDIA, text("", 307, Location=f"https://127.0.0.2:{port}/secret"))
    async with running_servers(1, federation={"allowed_ip_ranges": (only_peer,)}) as [server]:
        with pytest.raises(RemoteUnreachable):
            async with server.running.federation.client.stream(
                peer.name, MEDIA, follow_redirect=True
            ):
                pytest.fail("the address is private")
    assert other_peer.received == []


async def test_metrics_tell_operation_and_outcome(
    client: FederationClient, running: RunningServer, peer: PeerServer
) -> None:
    peer.answers("GET", PATH, {})
    await client.get(peer.name, PATH)
    shown = running.base.metrics.exposition().decode()
    assert 'outcome="answered",purpose="federation_version"' in shown
