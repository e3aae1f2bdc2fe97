"""Media between servers: two of ours, and peers that do it well or badly."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from homeserver.config.sections.media import MediaSection
from tests.between_servers.conftest import RunServers
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer
from tests.support.media import announces, downloads, uploads, uploads_to
from tests.support.peer_server import PeerServer, Script

BODY = os.urandom(600_001)
DOWNLOAD = "/_matrix/federation/v1/media/download"
OLD_DOWNLOAD = "/_matrix/media/v3/download"


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as maker:
        yield await maker.user("alice")


def multipart(
    *pieces: bytes, headers: str = "Content-Type: text/plain\r\n", first: bytes = b"{}"
) -> bytes:
    """Return a body with the boundary `gap`."""
    before = b"--gap\r\nContent-Type: application/json\r\n\r\n" + first + b"\r\n--gap\r\n"
    return before + headers.encode() + b"\r\n" + b"".join(pieces) + b"\r\n--gap--\r\n"


def answers(
    body: bytes, content_type: str = 'multipart/mixed; boundary="gap"', status: int = 200
) -> Script:
    async def script(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Type": content_type})

    return script


def in_pieces(body: bytes, size: int) -> Script:
    async def script(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/mixed; boundary=gap"})
        await response.prepare(request)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            await asyncio.sleep(0)
        return response

    return script


async def test_two_servers_exchange_media(running_servers: RunServers) -> None:
    async with (
        running_servers(2) as [one, other],
        clients_of(one.url) as here,
        clients_of(other.url) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        uri = await uploads(alice, BODY, "video/mp4", filename="größe.mp4")
        for _ in range(2):
            answer = await downloads(bob, uri)
            assert (answer.status, answer.body) == (200, BODY)
            assert answer.headers["Content-Type"] == "video/mp4"
            disposition = answer.headers["Content-Disposition"]
            assert disposition == "inline; filename*=utf-8''gr%C3%B6%C3%9Fe.mp4"
        part = await downloads(bob, uri, headers={"Range": "bytes=300000-300009"})
        assert (part.status, part.body) == (206, BODY[300_000:300_010])
        empty = await uploads(alice, b"")
        assert (await downloads(bob, empty)).body == b""


async def test_announced_upload_is_waited_for_across_servers(running_servers: RunServers) -> None:
    async with (
        running_servers(2) as [one, other],
        clients_of(one.url) as here,
        clients_of(other.url) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        uri = (await announces(alice))["content_uri"]
        early = await downloads(bob, uri, timeout_ms=10)
        assert early.refusal == (504, "M_NOT_YET_UPLOADED")
        waiting = asyncio.create_task(downloads(bob, uri, timeout_ms=30_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        await uploads_to(alice, uri, b"at last")
        assert (await asyncio.wait_for(waiting, 10)).body == b"at last"


async def test_media_is_given_to_signed_requests_only(
    server: NamedServer, alice: Client, peer: PeerServer
) -> None:
    media_id = (await uploads(alice, b"secret")).rpartition("/")[2]
    target = f"{DOWNLOAD}/{media_id}"
    reply = await peer.sends(server.name, "GET", target, authorization="Bearer x")
    assert reply.errcode == (401, "M_UNAUTHORIZED")
    unknown = await peer.sends(server.name, "GET", f"{DOWNLOAD}/unknown")
    assert unknown.errcode == (404, "M_NOT_FOUND")
    bad = await peer.sends(server.name, "GET", f"{DOWNLOAD}/a.b")
    assert bad.errcode == (400, "M_INVALID_PARAM")


async def test_many_readers_cause_one_request_and_get_the_beginning_early(
    alice: Client, peer: PeerServer
) -> None:
    goes_on = asyncio.Event()
    body = multipart(BODY)

    async def script(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/mixed; boundary=gap"})
        await response.prepare(request)
        await response.write(body[:300_000])
        await goes_on.wait()
        await response.write(body[300_000:])
        return response

    path = f"{DOWNLOAD}/abc"
    peer.answers("GET", path, script)
    url = f"{alice._url}/_matrix/client/v1/media/download/{peer.name}/abc"
    headers = {"Authorization": f"Bearer {alice.access_token}"}
    others = [asyncio.create_task(downloads(alice, f"mxc://{peer.name}/abc")) for _ in range(5)]
    async with alice._session.get(url, headers=headers) as response:
        beginning = await response.content.readexactly(250_000)
        assert beginning == BODY[:250_000]
        goes_on.set()
        assert beginning + await response.read() == BODY
    assert {answer.body for answer in await asyncio.gather(*others)} == {BODY}
    assert (await downloads(alice, f"mxc://{peer.name}/abc")).body == BODY
    assert len(peer.asked(path)) == 1


TRICKY = (
    b"",
    b"\r\n",
    b"--gap",
    b"x\r\n--ga",
    b"\r\n\r\n--gapless".replace(b"--gapless", b"--gxp"),
    b"\r\n--\r\n--g\r\n",
)


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_content_that_looks_like_a_boundary_arrives_whole(
    alice: Client, peer: PeerServer, size: int
) -> None:
    for number, content in enumerate(TRICKY):
        peer.answers("GET", f"{DOWNLOAD}/m{number}", in_pieces(multipart(content), size))
        answer = await downloads(alice, f"mxc://{peer.name}/m{number}")
        # A body that begins like the delimiter ends where it begins.
        expected = b"" if content == b"--gap" else content
        assert (answer.status, answer.body) == (200, expected), content


async def test_old_servers_are_asked_by_the_old_path(alice: Client, peer: PeerServer) -> None:
    async def script(request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Content-Type": "image/png", "Content-Disposition": 'inline; filename="x.png"'}
        return web.Response(body=BODY, headers=headers)

    path = f"{OLD_DOWNLOAD}/{peer.name.replace(':', '%3A')}/abc"
    peer.answers("GET", path, script)
    answer = await downloads(alice, f"mxc://{peer.name}/abc")
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.headers["Content-Disposition"] == 'inline; filename="x.png"'
    (request,) = peer.asked(path)
    assert "allow_remote=false" in request.target


async def test_content_may_be_somewhere_else(alice: Client, peer: PeerServer) -> None:
    location = f"https://{peer.name}/bucket/object?signature=a%2Fb"
    headers = f"Location: {location}\r\n"
    peer.answers("GET", f"{DOWNLOAD}/abc", answers(multipart(headers=headers)))
    peer.answers("GET", "/bucket/object", answers(BODY, "audio/ogg"))
    answer = await downloads(alice, f"mxc://{peer.name}/abc")
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.headers["Content-Type"] == "audio/ogg"
    (request,) = peer.asked("/bucket/object")
    assert request.target.endswith("?signature=a%2Fb")
    assert "Authorization" not in request.headers


BAD_LOCATIONS = ("http://127.0.0.1/x", "file:///etc/passwd", "https://10.0.0.1/x", "x", "https://")


async def test_content_is_not_fetched_from_private_places(alice: Client, peer: PeerServer) -> None:
    for number, location in enumerate(BAD_LOCATIONS):
        body = multipart(headers=f"Location: {location}\r\n")
        peer.answers("GET", f"{DOWNLOAD}/m{number}", answers(body))
        answer = await downloads(alice, f"mxc://{peer.name}/m{number}")
        assert answer.refusal == (502, "M_UNKNOWN"), location


NOT_MULTIPART = "no multipart at all"
BAD_ANSWERS: dict[str, Script] = {
    NOT_MULTIPART: answers(b"hello", "text/plain"),
    "no boundary": answers(multipart(b"x"), "multipart/mixed"),
    "wrong boundary": answers(multipart(b"x"), "multipart/mixed; boundary=other"),
    "boundary too long": answers(multipart(b"x"), f"multipart/mixed; boundary={'g' * 71}"),
    "form data": answers(multipart(b"x"), "multipart/form-data; boundary=gap"),
    "empty": answers(b""),
    "one part": answers(b"--gap\r\nContent-Type: application/json\r\n\r\n{}\r\n--gap--\r\n"),
    "endless headers": answers(multipart(b"x", headers=f"X: {'y' * 20_000}\r\n")),
    "no header": answers(multipart(b"x", headers="what is this\r\n")),
    "endless first part": answers(multipart(b"x", first=b"{" + b" " * 100_000 + b"}")),
    "server error": answers(b"{}", "application/json", 500),
}


async def test_bad_answers_are_not_passed_on(running_servers: RunServers, peer: PeerServer) -> None:
    async with running_servers(1) as [server], clients_of(server.url) as maker:
        alice = await maker.user("alice")
        for number, (name, script) in enumerate(BAD_ANSWERS.items()):
            peer.answers("GET", f"{DOWNLOAD}/m{number}", script)
            answer = await downloads(alice, f"mxc://{peer.name}/m{number}")
            assert answer.refusal == (502, "M_UNKNOWN"), name


async def test_truncated_content_is_not_kept(alice: Client, peer: PeerServer) -> None:
    path = f"{DOWNLOAD}/abc"
    peer.answers("GET", path, answers(multipart(BODY)[:-20]))
    with pytest.raises(Exception, match=r"payload|closed|Disconnected"):
        await downloads(alice, f"mxc://{peer.name}/abc")
    peer.answers("GET", path, answers(multipart(BODY)))
    assert (await downloads(alice, f"mxc://{peer.name}/abc")).body == BODY


@pytest.mark.parametrize(
    ("status", "errcode", "refusal"),
    [
        (404, "M_NOT_FOUND", (404, "M_NOT_FOUND")),
        (403, "M_FORBIDDEN", (404, "M_NOT_FOUND")),
        (504, "M_NOT_YET_UPLOADED", (504, "M_NOT_YET_UPLOADED")),
        (502, "M_TOO_LARGE", (502, "M_TOO_LARGE")),
        (400, "M_UNKNOWN", (502, "M_UNKNOWN")),
    ],
)
async def test_refusals_are_passed_on(
    alice: Client, peer: PeerServer, status: int, errcode: str, refusal: tuple[int, str]
) -> None:
    peer.answers("GET", f"{DOWNLOAD}/abc", {"errcode": errcode, "error": "no"}, status)
    assert (await downloads(alice, f"mxc://{peer.name}/abc")).refusal == refusal


async def test_content_that_is_too_large_is_not_passed_on(
    running_servers: RunServers, peer: PeerServer
) -> None:
    media = MediaSection(max_remote_bytes=1000)
    async with running_servers(1, media=media) as [server], clients_of(server.url) as maker:
        alice = await maker.user("alice")
        peer.answers("GET", f"{DOWNLOAD}/fits", answers(multipart(b"x" * 1000)))
        assert (await downloads(alice, f"mxc://{peer.name}/fits")).status == 200
        location = f"Location: https://{peer.name}/large\r\n"
        peer.answers("GET", f"{DOWNLOAD}/large", answers(multipart(headers=location)))
        peer.answers("GET", "/large", answers(b"x" * 1001))
        answer = await downloads(alice, f"mxc://{peer.name}/large")
        assert answer.refusal == (502, "M_TOO_LARGE")
        peer.answers("GET", f"{DOWNLOAD}/long", in_pieces(multipart(b"x" * 100_000), 10_000))
        answer = await downloads(alice, f"mxc://{peer.name}/long")
        assert answer.refusal == (502, "M_TOO_LARGE")


EVIL_NAMES: dict[str, str] = {
    'attachment; filename="../../x"': 'inline; filename="../../x"',
    "attachment; filename*=utf-8''a%0D%0Ab": "inline; filename*=utf-8''a%0D%0Ab",
    "attachment; filename*=nonsense''x": 'inline; filename="x"',
    f"attachment; filename={'x' * 5000}": "inline",
    "nonsense": "inline",
    "attachment; filename=": "inline",
}


async def test_names_of_other_servers_stay_inside_their_header(
    alice: Client, peer: PeerServer
) -> None:
    for number, (given, served) in enumerate(EVIL_NAMES.items()):
        headers = f"Content-Type: text/plain\r\nContent-Disposition: {given}\r\n"
        peer.answers("GET", f"{DOWNLOAD}/m{number}", answers(multipart(b"x", headers=headers)))
        for _ in range(2):
            answer = await downloads(alice, f"mxc://{peer.name}/m{number}")
            disposition = answer.headers["Content-Disposition"]
            assert disposition == served, given
            assert answer.body == b"x"


async def test_old_paths_do_not_fetch_when_frozen(alice: Client, peer: PeerServer) -> None:
    peer.answers("GET", f"{DOWNLOAD}/abc", answers(multipart(BODY)))
    uri = f"mxc://{peer.name}/abc"
    assert (await downloads(alice, uri, old=True)).refusal == (404, "M_NOT_FOUND")
    assert peer.asked(f"{DOWNLOAD}/abc") == []
    assert (await downloads(alice, uri)).status == 200
    assert (await downloads(alice, uri, old=True)).refusal == (404, "M_NOT_FOUND")


async def test_old_paths_fetch_while_they_are_open(
    running_servers: RunServers, peer: PeerServer
) -> None:
    media = MediaSection(freeze_unauthenticated_ts=None)
    async with running_servers(1, media=media) as [server], clients_of(server.url) as maker:
        nobody = maker.nobody()
        peer.answers("GET", f"{DOWNLOAD}/abc", answers(multipart(BODY)))
        uri = f"mxc://{peer.name}/abc"
        local_only = await downloads(nobody, uri, old=True, allow_remote="false")
        assert local_only.refusal == (404, "M_NOT_FOUND")
        assert (await downloads(nobody, uri, old=True)).body == BODY
        cached = await downloads(nobody, uri, old=True, allow_remote="false")
        assert cached.body == BODY


async def test_client_that_leaves_does_not_end_the_fetch(alice: Client, peer: PeerServer) -> None:
    goes_on = asyncio.Event()
    body = multipart(BODY)

    async def script(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/mixed; boundary=gap"})
        await response.prepare(request)
        await response.write(body[:300_000])
        await goes_on.wait()
        await response.write(body[300_000:])
        return response

    peer.answers("GET", f"{DOWNLOAD}/abc", script)
    url = f"{alice._url}/_matrix/client/v1/media/download/{peer.name}/abc"
    headers = {"Authorization": f"Bearer {alice.access_token}"}
    async with alice._session.get(url, headers=headers) as response:
        await response.content.readexactly(1000)
        response.close()
    goes_on.set()
    assert (await downloads(alice, f"mxc://{peer.name}/abc")).body == BODY
    assert len(peer.asked(f"{DOWNLOAD}/abc")) == 1
