"""A scanner looks at what comes in, and again at what goes out."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from homeserver.config.sections.media import MediaSection, ScanSection
from tests.support.client import Client, clients_of, refused
from tests.support.media import announces, downloads, uploads, uploads_to
from tests.support.server import server_of

# Refuses what contains "virus", fails on "broken", never ends on "slow".
PROGRAM = """
import pathlib, sys, time
content = pathlib.Path(sys.argv[1]).read_bytes()
if b"slow" in content: time.sleep(600)
sys.exit(1 if b"virus" in content else 7 if b"broken" in content else 0)
"""


@contextlib.asynccontextmanager
async def scanning(dsn: str, folder: Path, **scan: Any) -> AsyncIterator[Client]:
    media = MediaSection(scan=ScanSection(**scan))
    async with server_of(dsn, folder, media=media) as server, clients_of(server.url) as maker:
        yield await maker.user("alice")


def stored(folder: Path) -> list[Path]:
    return [
        each for each in (folder / "media").rglob("*") if each.is_file() and each.name != "lock"
    ]


async def test_program_decides_what_is_kept(database_dsn: str, tmp_path: Path) -> None:
    command = (sys.executable, "-c", PROGRAM)
    async with scanning(database_dsn, tmp_path, command=command, timeout_ms=2000) as alice:
        assert (await downloads(alice, await uploads(alice, b"fine"))).body == b"fine"
        for content in (b"a virus", b"broken", b"slow"):
            with refused(403, "M_FORBIDDEN"):
                await uploads(alice, content)
        uri = (await announces(alice))["content_uri"]
        assert (await uploads_to(alice, uri, b"a virus")).refusal == (403, "M_FORBIDDEN")
        assert (await uploads_to(alice, uri, b"also fine")).status == 200
        assert len(stored(tmp_path)) == 2


async def test_program_that_is_not_there_lets_nothing_pass(
    database_dsn: str, tmp_path: Path
) -> None:
    async with scanning(database_dsn, tmp_path, command=("/nonexistent",)) as alice:
        with refused(403, "M_FORBIDDEN"):
            await uploads(alice, b"fine")
        assert stored(tmp_path) == []


@pytest.fixture
async def service() -> AsyncIterator[tuple[str, list[bytes], dict[bytes, int]]]:
    """A scanning service: its URL, what it was sent, and what it answers to which content."""
    sent: list[bytes] = []
    verdicts: dict[bytes, int] = {}

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        sent.append(await request.read())
        return web.Response(status=verdicts.get(sent[-1], 200))

    server = web.Server(respond)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/scan", sent, verdicts
    await runner.cleanup()


async def test_service_decides_what_is_kept(
    database_dsn: str, tmp_path: Path, service: tuple[str, list[bytes], dict[bytes, int]]
) -> None:
    url, sent, verdicts = service
    verdicts.update({b"refused": 403, b"unwanted": 406, b"failing": 500, b"redirect": 302})
    async with scanning(database_dsn, tmp_path, url=url) as alice:
        await uploads(alice, b"fine")
        for content in (b"refused", b"unwanted", b"failing", b"redirect"):
            with refused(403, "M_FORBIDDEN"):
                await uploads(alice, content)
        assert sent == [b"fine", b"refused", b"unwanted", b"failing", b"redirect"]


async def test_what_is_read_is_scanned_again(
    database_dsn: str, tmp_path: Path, service: tuple[str, list[bytes], dict[bytes, int]]
) -> None:
    url, sent, verdicts = service
    async with scanning(database_dsn, tmp_path, url=url) as alice:
        uri = await uploads(alice, b"later known as bad")
    verdicts[b"later known as bad"] = 403
    async with (
        server_of(
            database_dsn, tmp_path, media=MediaSection(scan=ScanSection(url=url, on_download=True))
        ) as server,
        clients_of(server.url) as maker,
    ):
        bob = await maker.user("bob")
        for _ in range(3):
            assert (await downloads(bob, uri)).refusal == (404, "M_NOT_FOUND")
    # Once at the upload, once for all three reads.
    assert len(sent) == 2
