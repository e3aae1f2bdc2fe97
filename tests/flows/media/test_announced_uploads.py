"""An mxc:// URI first, its content later."""

import asyncio
from pathlib import Path

import pytest

from homeserver.run.compose import RunningServer
from tests.support.client import Client, clients_of
from tests.support.media import UPLOAD, announces, asks, downloads, uploads, uploads_to
from tests.support.server import SERVER_NAME, server_of


async def test_announced_upload_comes_later(alice: Client, bob: Client) -> None:
    made = await announces(alice)
    assert made["unused_expires_at"] > 0
    uri = made["content_uri"]
    answer = await uploads_to(alice, uri, b"later", "image/png", filename="x.png")
    assert (answer.status, answer.body) == (200, b"{}")
    content = await downloads(bob, uri)
    assert (content.body, content.headers["Content-Type"]) == (b"later", "image/png")
    assert content.headers["Content-Disposition"] == 'inline; filename="x.png"'


async def test_reader_waits_for_the_upload(alice: Client, bob: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    waiting = asyncio.create_task(downloads(bob, uri, timeout_ms=60_000))
    # Not before bob's request waits.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    await uploads_to(alice, uri, b"at last")
    assert (await asyncio.wait_for(waiting, 60)).body == b"at last"


@pytest.mark.parametrize("timeout_ms", [0, 50, -5])
async def test_reader_waits_no_longer_than_asked(alice: Client, timeout_ms: int) -> None:
    uri = (await announces(alice))["content_uri"]
    answer = await downloads(alice, uri, timeout_ms=timeout_ms)
    assert answer.refusal == (504, "M_NOT_YET_UPLOADED")


async def test_reader_on_another_node_waits_too(
    server: RunningServer, alice: Client, database_dsn: str, tmp_path: Path
) -> None:
    async with server_of(database_dsn, tmp_path) as other, clients_of(other.url) as maker:
        reader = maker.nobody()
        reader.access_token = alice.access_token
        uri = (await announces(alice))["content_uri"]
        waiting = asyncio.create_task(downloads(reader, uri, timeout_ms=60_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        await uploads_to(alice, uri, b"from over there")
        assert (await asyncio.wait_for(waiting, 60)).body == b"from over there"


async def test_content_is_never_replaced(alice: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    await uploads_to(alice, uri, b"first")
    answer = await uploads_to(alice, uri, b"second")
    assert answer.refusal == (409, "M_CANNOT_OVERWRITE_MEDIA")
    uploaded = await uploads(alice, b"plain")
    answer = await uploads_to(alice, uploaded, b"second")
    assert answer.refusal == (409, "M_CANNOT_OVERWRITE_MEDIA")
    assert (await downloads(alice, uri)).body == b"first"


async def test_one_of_many_uploads_at_the_same_time_wins(alice: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    answers = await asyncio.gather(*(uploads_to(alice, uri, b"%d" % each) for each in range(6)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 5
    (winner,) = [each for each, answer in enumerate(answers) if answer.status == 200]
    assert (await downloads(alice, uri)).body == b"%d" % winner


async def test_nobody_else_may_upload_to_it(alice: Client, bob: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    assert (await uploads_to(bob, uri, b"x")).refusal == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        (f"{SERVER_NAME}/unknown", (404, "M_NOT_FOUND")),
        ("other.example/unknown", (404, "M_NOT_FOUND")),
        (f"{SERVER_NAME}/a.b", (400, "M_INVALID_PARAM")),
        ("not%20a%20server/abc", (400, "M_INVALID_PARAM")),
    ],
)
async def test_upload_to_what_was_not_made_is_refused(
    alice: Client, path: str, refusal: tuple[int, str]
) -> None:
    assert (await asks(alice, "PUT", f"{UPLOAD}/{path}", data=b"x")).refusal == refusal


async def test_announced_upload_expires(server: RunningServer, alice: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE media SET expires_ts = 1")
        assert (await uploads_to(alice, uri, b"x")).refusal == (404, "M_NOT_FOUND")
        assert (await downloads(alice, uri)).refusal == (404, "M_NOT_FOUND")
        await server.media.uploads.forget_expired()
        assert await connection.fetchval("SELECT count(*) FROM media") == 0


async def test_stop_does_not_wait_for_uploads(database_dsn: str, tmp_path: Path) -> None:
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as maker:
        alice = await maker.user("alice")
        uri = (await announces(alice))["content_uri"]
        waiting = asyncio.create_task(downloads(alice, uri, timeout_ms=60_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        server.base.shutdown.begin()
        answer = await asyncio.wait_for(waiting, 60)
        assert answer.refusal == (504, "M_NOT_YET_UPLOADED")
