"""Uploading and reading it back."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections.media import MediaSection, UploadLimit
from homeserver.protocol.content_uri import parse_content_uri
from homeserver.run.compose import RunningServer
from tests.support.client import Client, ClientMaker, clients_of, refused
from tests.support.media import (
    UPLOAD,
    announces,
    asks,
    broken_off,
    downloads,
    pieces,
    until,
    uploads,
    uploads_to,
)
from tests.support.server import SERVER_NAME, server_of

LARGE = os.urandom(3 * 1024 * 1024 + 7)


def stored_files(folder: Path) -> list[Path]:
    """Return what is in the store and in the spool, locks aside."""
    return [
        each for each in (folder / "media").rglob("*") if each.is_file() and each.name != "lock"
    ]


async def test_upload_comes_back_byte_for_byte(alice: Client, bob: Client) -> None:
    uri = await uploads(alice, LARGE, "video/mp4", filename="holiday.mp4")
    answer = await downloads(bob, uri)
    assert answer.status == 200
    assert answer.body == LARGE
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(len(LARGE))
    assert answer.headers["Content-Disposition"] == 'inline; filename="holiday.mp4"'


async def test_upload_of_unknown_length_comes_back(alice: Client) -> None:
    uri = await uploads(alice, pieces(LARGE, 10_000))
    assert (await downloads(alice, uri)).body == LARGE


async def test_empty_upload_comes_back_empty(alice: Client) -> None:
    uri = await uploads(alice, b"")
    answer = await downloads(alice, uri)
    assert (answer.status, answer.body) == (200, b"")


async def test_uri_names_this_server_and_cannot_be_guessed(alice: Client) -> None:
    first, second = [parse_content_uri(await uploads(alice, b"x")) for _ in range(2)]
    assert first.origin == SERVER_NAME
    assert len(first.media_id) >= 24
    assert first.media_id != second.media_id


async def test_same_bytes_are_kept_once(alice: Client, bob: Client, tmp_path: Path) -> None:
    for client in (alice, bob, alice):
        await uploads(client, b"the same bytes", filename="different.txt")
    assert len(stored_files(tmp_path)) == 1


async def test_nothing_of_the_name_is_in_the_path(alice: Client, tmp_path: Path) -> None:
    uri = await uploads(alice, b"root:x:0:0", filename="../../../../etc/passwd")
    (stored,) = stored_files(tmp_path)
    assert "passwd" not in str(stored)
    disposition = (await downloads(alice, uri)).headers["Content-Disposition"]
    assert disposition == 'inline; filename="../../../../etc/passwd"'


async def test_broken_upload_leaves_nothing(alice: Client, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="gone"):
        await uploads(alice, broken_off(LARGE))
    await until(lambda: not stored_files(tmp_path))


CONTENT_TYPES = (
    (None, "application/octet-stream"),
    ("", "application/octet-stream"),
    ("image", "application/octet-stream"),
    ("image/png; charset=x", "image/png; charset=x"),
    ("text/html", "text/html"),
    ("x" * 300 + "/y", "application/octet-stream"),
    ("te xt/plain", "application/octet-stream"),
)


async def test_content_type_is_served_as_uploaded_if_it_is_one(alice: Client) -> None:
    for content_type, served in CONTENT_TYPES:
        uri = await uploads(alice, b"x", content_type)
        assert (await downloads(alice, uri)).headers["Content-Type"] == served


FILE_NAMES = (
    ("a b.txt", 'inline; filename="a b.txt"'),
    ('say "hi" \\.txt', 'inline; filename="say \\"hi\\" \\\\.txt"'),
    ("größe.txt", "inline; filename*=utf-8''gr%C3%B6%C3%9Fe.txt"),
    ("a\r\nSet-Cookie: x=y", "inline; filename*=utf-8''a%0D%0ASet-Cookie%3A%20x%3Dy"),
    ("\u202egpj.exe", "inline; filename*=utf-8''%E2%80%AEgpj.exe"),
    ("", "inline"),
)


async def test_file_name_survives_and_stays_inside_its_header(alice: Client) -> None:
    for filename, disposition in FILE_NAMES:
        uri = await uploads(alice, b"x", "text/plain", filename=filename)
        answer = await downloads(alice, uri)
        assert answer.headers["Content-Disposition"] == disposition
        assert "Set-Cookie" not in answer.headers


async def test_config_tells_the_limit_by_both_paths(alice: Client, guest: Client) -> None:
    for client in (alice, guest):
        for path in ("/_matrix/client/v1/media/config", "/_matrix/media/v3/config"):
            assert await client.get(path) == {"m.upload.size": 100 * 1024 * 1024}


@pytest.fixture
async def narrow(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with small limits."""
    limits = (
        UploadLimit(period_seconds=3600, max_files=3),
        UploadLimit(period_seconds=3600, max_bytes=1500),
    )
    media = MediaSection(max_upload_bytes=1000, upload_limits=limits, max_pending_uploads=2)
    async with server_of(database_dsn, tmp_path, media=media) as server:
        yield server


@pytest.fixture
async def limited(narrow: RunningServer) -> AsyncIterator[ClientMaker]:
    async with clients_of(narrow.url) as maker:
        yield maker


async def test_size_limit_holds_whether_the_size_is_announced_or_not(
    limited: ClientMaker, tmp_path: Path
) -> None:
    alice = await limited.user("alice")
    with refused(413, "M_TOO_LARGE"):
        await uploads(alice, b"x" * 1001)
    with refused(413, "M_TOO_LARGE"):
        await uploads(alice, pieces(b"x" * 1001, 100))
    assert stored_files(tmp_path) == []
    await uploads(alice, b"x" * 1000)


async def test_quota_of_bytes_counts_per_user(limited: ClientMaker) -> None:
    alice, bob = await limited.user("alice"), await limited.user("bob")
    await uploads(alice, b"x" * 900)
    with refused(403, "M_FORBIDDEN"):
        await uploads(alice, b"x" * 900)
    with refused(403, "M_FORBIDDEN"):
        await uploads(alice, pieces(b"y" * 900, 100))
    await uploads(bob, b"x" * 900)
    await uploads(alice, b"x" * 600)


async def test_quota_of_files_holds_for_uploads_at_the_same_time(limited: ClientMaker) -> None:
    alice = await limited.user("alice")

    async def one(number: int) -> Any:
        return (await asks(alice, "POST", UPLOAD, data=b"%d" % number)).status

    statuses = await asyncio.gather(*(one(number) for number in range(8)))
    assert sorted(statuses) == [200] * 3 + [403] * 5


async def test_announced_uploads_are_limited(limited: ClientMaker) -> None:
    alice = await limited.user("alice")
    first = await announces(alice)
    await announces(alice)
    with refused(429, "M_LIMIT_EXCEEDED") as caught:
        await announces(alice)
    assert caught.value.body["retry_after_ms"] > 0
    assert (await uploads_to(alice, first["content_uri"], b"x")).status == 200
    await announces(alice)


async def test_who_may_not_upload_is_refused(clients: ClientMaker, guest: Client) -> None:
    nobody = clients.nobody()
    for method, path in (
        ("POST", UPLOAD),
        ("POST", "/_matrix/media/v1/create"),
        ("PUT", f"{UPLOAD}/{SERVER_NAME}/abc"),
    ):
        assert (await asks(nobody, method, path, data=b"x")).refusal == (401, "M_MISSING_TOKEN")
        answer = await asks(guest, method, path, data=b"x")
        assert answer.refusal == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_name_that_cannot_be_kept_is_refused(alice: Client) -> None:
    for filename in ("x" * 256, "a\0b"):
        with refused(400, "M_INVALID_PARAM"):
            await uploads(alice, b"x", filename=filename)
