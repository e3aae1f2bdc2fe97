"""Thumbnails between servers: ours for others, and of what others have."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.between_servers.conftest import RunServers
from tests.support.client import Client, clients_of
from tests.support.federation import NamedServer
from tests.support.media import Answer, asks, path_of, uploads
from tests.support.peer_server import PeerServer
from tests.support.pictures import decoded, encoded, png_claiming, quarters

PICTURE = encoded(quarters(300, 200), "PNG")
THUMBNAIL = "/_matrix/federation/v1/media/thumbnail"
DOWNLOAD = "/_matrix/federation/v1/media/download"


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as maker:
        yield await maker.user("alice")


async def thumbnails(client: Client, uri: str, side: int) -> Answer:
    path = f"/_matrix/client/v1/media/thumbnail/{path_of(uri)}"
    return await asks(client, "GET", path, width=side, height=side, method="crop")


def gives(peer: PeerServer, media_id: str, content: bytes) -> str:
    """Have a server give out a content, and return its URI."""

    async def script(_request: web.BaseRequest) -> web.StreamResponse:
        body = (
            b"--gap\r\nContent-Type: application/json\r\n\r\n{}\r\n--gap\r\n"
            b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--gap--\r\n"
        )
        return web.Response(body=body, headers={"Content-Type": "multipart/mixed; boundary=gap"})

    peer.answers("GET", f"{DOWNLOAD}/{media_id}", script)
    return f"mxc://{peer.name}/{media_id}"


async def test_thumbnail_of_another_servers_picture(running_servers: RunServers) -> None:
    async with (
        running_servers(2) as [one, other],
        clients_of(one.url) as here,
        clients_of(other.url) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        uri = await uploads(alice, PICTURE, "image/png")
        for _ in range(2):
            answer = await thumbnails(bob, uri, 32)
            assert (answer.status, decoded(answer.body).size) == (200, (32, 32))
            assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.jpg"'


async def test_picture_is_fetched_once_for_all_thumbnails(alice: Client, peer: PeerServer) -> None:
    uri = gives(peer, "abc", PICTURE)
    answers = await asyncio.gather(*(thumbnails(alice, uri, side) for side in (8, 16, 32, 64)))
    assert [decoded(answer.body).size[0] for answer in answers] == [8, 16, 32, 64]
    assert len(peer.asked(f"{DOWNLOAD}/abc")) == 1


async def test_what_another_server_has_may_be_no_picture(alice: Client, peer: PeerServer) -> None:
    for media_id, content, refusal in (
        ("html", b"<html>", (400, "M_UNKNOWN")),
        ("broken", PICTURE[:-500], (400, "M_UNKNOWN")),
        # "returning a HTTP 502 error with the M_TOO_LARGE code"
        ("bomb", png_claiming(50_000, 50_000), (502, "M_TOO_LARGE")),
    ):
        answer = await thumbnails(alice, gives(peer, media_id, content), 32)
        assert answer.refusal == refusal, media_id


async def test_thumbnails_are_given_to_signed_requests(
    server: NamedServer, alice: Client, peer: PeerServer
) -> None:
    picture = (await uploads(alice, PICTURE, "image/png")).rpartition("/")[2]
    text = (await uploads(alice, b"hello")).rpartition("/")[2]
    query = "width=32&height=32&method=crop"
    unsigned = await peer.sends(
        server.name, "GET", f"{THUMBNAIL}/{picture}?{query}", authorization="Bearer x"
    )
    assert unsigned.errcode == (401, "M_UNAUTHORIZED")
    for target, refusal in (
        (f"unknown?{query}", (404, "M_NOT_FOUND")),
        (f"a.b?{query}", (400, "M_INVALID_PARAM")),
        (f"{picture}?width=32", (400, "M_MISSING_PARAM")),
        (f"{picture}?width=-1&height=32", (400, "M_INVALID_PARAM")),
        (f"{text}?{query}", (400, "M_UNKNOWN")),
    ):
        reply = await peer.sends(server.name, "GET", f"{THUMBNAIL}/{target}")
        assert reply.errcode == refusal, target


async def test_thumbnail_goes_out_in_parts(
    server: NamedServer, alice: Client, peer: PeerServer
) -> None:
    media_id = (await uploads(alice, PICTURE, "image/png")).rpartition("/")[2]
    target = f"{THUMBNAIL}/{media_id}?width=32&height=32&method=crop"
    headers = {"Authorization": peer.authorization(server.name, "GET", target, None)}
    url = URL(f"https://{server.name}{target}", encoded=True)
    async with peer._session.get(url, headers=headers) as response:
        parts = aiohttp.MultipartReader.from_response(response)
        metadata = await parts.next()
        assert isinstance(metadata, aiohttp.BodyPartReader)
        assert await metadata.json() == {}
        picture = await parts.next()
        assert isinstance(picture, aiohttp.BodyPartReader)
        assert picture.headers["Content-Type"] == "image/jpeg"
        assert decoded(bytes(await picture.read())).size == (32, 32)
        assert await parts.next() is None
