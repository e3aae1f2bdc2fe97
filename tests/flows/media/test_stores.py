"""Where the bytes are: object stores, the cache before them, crashes, removal."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from homeserver.config.sections.media import MediaSection
from homeserver.run.compose import RunningServer
from homeserver.storage import media as media_table
from media_repo.store import UNREFERENCED_MS, key_of
from tests.support.client import Client, clients_of, refused
from tests.support.media import asks, downloads, path_of, until, uploads
from tests.support.object_store import S3Server, s3_server
from tests.support.processes import server_processes
from tests.support.server import server_of

# More than one part of a multipart upload.
LARGE = os.urandom(11 * 1024 * 1024)
SMALL = b"small"


@pytest.fixture(scope="module")
def s3_process() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_process: S3Server) -> S3Server:
    """An S3 server with an empty bucket."""
    s3_process.empty()
    return s3_process


@pytest.fixture
async def bucket_server(
    database_dsn: str, tmp_path: Path, s3: S3Server
) -> AsyncIterator[RunningServer]:
    """A server whose files are in the bucket."""
    media = MediaSection(object_store=s3.section())
    async with server_of(database_dsn, tmp_path, media=media) as server:
        yield server


@pytest.fixture
async def dora(bucket_server: RunningServer) -> AsyncIterator[Client]:
    async with clients_of(bucket_server.url) as maker:
        yield await maker.user("dora")


def key(content: bytes) -> str:
    return key_of(hashlib.sha256(content).digest())


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and each.name != "lock"]


async def test_bucket_holds_the_same_bytes_once(dora: Client, s3: S3Server) -> None:
    uris = [await uploads(dora, content) for content in (LARGE, SMALL, LARGE)]
    assert s3.objects() == {
        f"homeserver/{key(LARGE)}": len(LARGE),
        f"homeserver/{key(SMALL)}": len(SMALL),
    }
    assert [(await downloads(dora, uri)).body for uri in uris] == [LARGE, SMALL, LARGE]


async def test_what_left_the_cache_is_fetched_once_for_all(
    dora: Client, s3: S3Server, tmp_path: Path
) -> None:
    uri = await uploads(dora, LARGE)
    cached = tmp_path / "media" / "cache" / key(LARGE)
    cached.unlink()
    part = await downloads(dora, uri, headers={"Range": "bytes=5000000-9000000"})
    assert part.body == LARGE[5_000_000:9_000_001]
    assert not cached.exists()
    answers = await asyncio.gather(*(downloads(dora, uri) for _ in range(4)))
    assert all(answer.body == LARGE for answer in answers)
    await until(cached.exists)
    s3.empty()
    assert (await downloads(dora, uri)).body == LARGE
    cached.unlink()
    assert (await downloads(dora, uri)).refusal == (404, "M_NOT_FOUND")


async def test_cache_is_bounded_and_keeps_what_was_used_last(
    database_dsn: str, tmp_path: Path, s3: S3Server
) -> None:
    media = MediaSection(object_store=s3.section(cache_max_bytes=2500))
    async with (
        server_of(database_dsn, tmp_path, media=media) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        contents = [bytes([each]) * 1000 for each in range(5)]
        uris = []
        for content in contents:
            uris.append(await uploads(alice, content))
            await downloads(alice, uris[0])
        cache = tmp_path / "media" / "cache"
        assert sum(each.stat().st_size for each in files_in(cache)) <= 2500
        assert (cache / key(contents[0])).exists()
        for uri, content in zip(uris, contents, strict=True):
            assert (await downloads(alice, uri)).body == content


async def test_without_a_cache_nothing_stays_on_this_machine(
    database_dsn: str, tmp_path: Path, s3: S3Server
) -> None:
    media = MediaSection(object_store=s3.section(cache_max_bytes=0))
    async with (
        server_of(database_dsn, tmp_path, media=media) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        uri = await uploads(alice, LARGE)
        assert (await downloads(alice, uri)).body == LARGE
        assert files_in(tmp_path / "media") == []
        async with server.media.store.local_file(hashlib.sha256(LARGE).digest()) as path:
            assert path.read_bytes() == LARGE
        assert files_in(tmp_path / "media") == []


async def test_readers_may_be_sent_to_the_bucket(
    database_dsn: str, tmp_path: Path, s3: S3Server
) -> None:
    media = MediaSection(object_store=s3.section(redirects=True), freeze_unauthenticated_ts=None)
    async with (
        server_of(database_dsn, tmp_path, media=media) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        uri = await uploads(alice, SMALL)
        answer = await downloads(alice, uri)
        assert answer.status == 307
        location = answer.headers["Location"]
        assert location.startswith(s3.url)
        async with alice._session.get(location) as response:
            assert await response.read() == SMALL
        assert (await downloads(alice, uri, old=True)).body == SMALL
        asked = await downloads(alice, uri, old=True, allow_redirect="true")
        assert asked.status == 307


async def test_bucket_out_of_reach_is_told(database_dsn: str, tmp_path: Path) -> None:
    with s3_server() as own:
        section = own.section(cache_max_bytes=0)
        options = {**section.options, "endpoint": own.url}
        media = MediaSection(object_store=own.section(cache_max_bytes=0, options=options))
        async with (
            server_of(database_dsn, tmp_path, media=media) as server,
            clients_of(server.url) as maker,
        ):
            alice = await maker.user("alice")
            uri = await uploads(alice, SMALL)
            own.stop()
            assert (await downloads(alice, uri)).refusal == (503, "M_UNKNOWN")
            with refused(503, "M_UNKNOWN"):
                await uploads(alice, b"other")
            assert files_in(tmp_path / "media") == []


# Removal


async def pretend_time_passes(server: RunningServer) -> None:
    async with server.base.database.connection() as connection:
        await connection.execute(
            "UPDATE media_blobs SET touched_ts = touched_ts - $1", UNREFERENCED_MS + 1
        )


async def test_bytes_go_when_the_last_reference_has_gone(
    bucket_server: RunningServer, dora: Client, s3: S3Server, tmp_path: Path
) -> None:
    first, second = await uploads(dora, SMALL), await uploads(dora, SMALL)
    kept = await uploads(dora, LARGE)
    store = bucket_server.media.store
    await pretend_time_passes(bucket_server)
    for uri, is_there in ((first, True), (second, False)):
        origin, media_id = path_of(uri).split("/")
        async with bucket_server.base.database.transaction() as tx:
            assert await media_table.delete(tx, origin, media_id)
        await store.collect()
        assert (f"homeserver/{key(SMALL)}" in s3.objects()) is is_there
    assert not (tmp_path / "media" / "cache" / key(SMALL)).exists()
    assert (await downloads(dora, second)).refusal == (404, "M_NOT_FOUND")
    assert (await downloads(dora, kept)).body == LARGE
    again = await uploads(dora, SMALL)
    assert (await downloads(dora, again)).body == SMALL


async def test_bytes_that_come_again_are_not_removed(server: RunningServer, alice: Client) -> None:
    uri = await uploads(alice, SMALL)
    async with server.base.database.transaction() as tx:
        await media_table.delete(tx, *path_of(uri).split("/"))
    await pretend_time_passes(server)
    # At the same time, in any order: either the bytes stay, or they are put there again.
    _, *uris = await asyncio.gather(
        server.media.store.collect(), *(uploads(alice, SMALL) for _ in range(5))
    )
    for again in uris:
        assert (await downloads(alice, again)).body == SMALL


# Crashes


def test_killed_server_leaves_nothing_half(database_dsn: str, tmp_path: Path) -> None:
    settings = {
        "DATABASE_DSN": database_dsn,
        "RATE_LIMITS_ENABLED": "false",
        "REGISTRATION_WITHOUT_VERIFICATION": "true",
    }
    with server_processes() as make:
        process = make(tmp_path / "data", settings)
        process.start()
        folder = tmp_path / "data" / "media"

        async def begin_and_kill() -> None:
            arrived = asyncio.Event()

            async def endless() -> AsyncIterator[bytes]:
                while True:
                    yield LARGE
                    if files_in(folder):
                        arrived.set()

            async with clients_of(process.url) as maker:
                alice = await maker.user("alice")
                uploading = asyncio.create_task(uploads(alice, endless()))
                await asyncio.wait_for(arrived.wait(), 60)
                await asyncio.to_thread(process.kill)
                with pytest.raises(Exception, match=r"."):
                    await uploading

        asyncio.run(begin_and_kill())
        assert files_in(folder) != []
        assert files_in(folder / "sha256") == []
        process.start()
        assert files_in(folder) == []

        async def ask() -> None:
            async with clients_of(process.url) as maker:
                alice = await maker.user("bob")
                answer = await asks(alice, "GET", "/_matrix/client/v1/media/config")
                assert answer.status == 200

        asyncio.run(ask())
