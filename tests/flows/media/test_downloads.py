"""Downloading: headers, parts, conditions, and what is refused."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.config.sections.federation import FederationSection
from homeserver.config.sections.media import MediaSection
from homeserver.config.sections.single_sign_on import CasProvider, SingleSignOnSection
from homeserver.run.compose import RunningServer
from media_repo.headers import INLINE_TYPES
from tests.support.client import Client, ClientMaker, clients_of
from tests.support.media import (
    DOWNLOAD,
    OLD_DOWNLOAD,
    asks,
    downloads,
    path_of,
    uploads,
)
from tests.support.server import SERVER_NAME, server_of

# More than one piece, so that ranges begin and end inside of pieces.
BODY = os.urandom(700_001)


@pytest.fixture
async def uri(alice: Client) -> str:
    return await uploads(alice, BODY, "video/mp4", filename="a.mp4")


# Headers


async def test_browsers_are_kept_from_running_media(alice: Client, uri: str) -> None:
    headers = (await downloads(alice, uri)).headers
    assert headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
        "style-src 'unsafe-inline'; object-src 'self';"
    )
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"].startswith("private,")


RUN_BY_BROWSERS = (
    "text/html",
    "image/svg+xml",
    "application/xhtml+xml",
    "text/xml",
    "application/pdf",
    "application/javascript",
    "text/html; x=image/png",
    "image/png2",
)


async def test_what_browsers_might_run_is_an_attachment(alice: Client) -> None:
    for content_type in RUN_BY_BROWSERS:
        uri = await uploads(alice, b"<script>alert(1)</script>", content_type)
        answer = await downloads(alice, uri)
        assert answer.headers["Content-Disposition"] == "attachment", content_type
        assert answer.headers["Content-Type"] == content_type


async def test_what_is_safe_is_inline(alice: Client) -> None:
    for content_type in (*sorted(INLINE_TYPES), "IMAGE/PNG", "text/plain; a=b"):
        uri = await uploads(alice, b"<script>alert(1)</script>", content_type)
        disposition = (await downloads(alice, uri)).headers["Content-Disposition"]
        assert disposition == "inline", content_type


async def test_name_in_the_path_replaces_that_of_the_upload(alice: Client, uri: str) -> None:
    for name in ("other.mp4", "../x", "a/b", "größe"):
        disposition = (await downloads(alice, uri, name=name)).headers["Content-Disposition"]
        assert "a.mp4" not in disposition
        assert (name in disposition) or "gr%C3%B6%C3%9Fe" in disposition


# Parts and conditions


PARTS = (
    ("bytes=0-0", 0, 1),
    ("bytes=0-", 0, len(BODY)),
    ("bytes=10-299999", 10, 300_000),
    ("bytes=262144-524287", 262_144, 524_288),
    ("bytes=-5", len(BODY) - 5, len(BODY)),
    ("bytes=-99999999", 0, len(BODY)),
    ("bytes=700000-99999999999", 700_000, len(BODY)),
    ("Bytes = 3-4", 3, 5),
)


async def test_part_of_a_file(alice: Client, uri: str) -> None:
    for wanted, start, end in PARTS:
        answer = await downloads(alice, uri, headers={"Range": wanted})
        assert answer.status == 206, wanted
        assert answer.body == BODY[start:end]
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
        assert answer.headers["Content-Length"] == str(end - start)
        assert answer.headers["Content-Type"] == "video/mp4"


async def test_what_is_no_single_range_gets_everything(alice: Client, uri: str) -> None:
    for wanted in ("bytes=5-4", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=-", "0-1", ""):
        answer = await downloads(alice, uri, headers={"Range": wanted})
        assert (answer.status, answer.body) == (200, BODY), wanted
        assert answer.headers["Accept-Ranges"] == "bytes"


async def test_range_behind_the_end_is_refused(alice: Client, uri: str) -> None:
    for wanted in ("bytes=700001-", "bytes=9999999-99999999", "bytes=-0"):
        answer = await downloads(alice, uri, headers={"Range": wanted})
        assert answer.refusal == (416, "M_UNKNOWN"), wanted
        assert answer.headers["Content-Range"] == f"bytes */{len(BODY)}"


async def test_range_holds_only_while_the_file_is_the_same(alice: Client, uri: str) -> None:
    tag = (await downloads(alice, uri)).headers["ETag"]
    same = await downloads(alice, uri, headers={"Range": "bytes=0-9", "If-Range": tag})
    assert same.status == 206
    for other in ('"other"', f"W/{tag}", "Tue, 24 Nov 2026 00:00:00 GMT"):
        answer = await downloads(alice, uri, headers={"Range": "bytes=0-9", "If-Range": other})
        assert (answer.status, answer.body) == (200, BODY)


async def test_client_that_has_it_is_not_sent_it_again(alice: Client, uri: str) -> None:
    tag = (await downloads(alice, uri)).headers["ETag"]
    assert tag == f'"{hashlib.sha256(BODY).hexdigest()}"'
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = await downloads(alice, uri, headers={"If-None-Match": known})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == tag
    answer = await downloads(alice, uri, headers={"If-None-Match": '"other"'})
    assert answer.status == 200


async def test_head_has_no_body(alice: Client, uri: str) -> None:
    answer = await downloads(alice, uri, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(BODY))


async def test_damaged_file_breaks_the_answer_off(alice: Client, uri: str, tmp_path: Path) -> None:
    name = hashlib.sha256(BODY).hexdigest()
    stored = tmp_path / "media" / "sha256" / name[:2] / name[2:4] / name
    os.truncate(stored, 300_000)
    with pytest.raises(Exception, match=r"payload|closed|Disconnected"):
        await downloads(alice, uri)
    stored.unlink()
    assert (await downloads(alice, uri)).refusal == (404, "M_NOT_FOUND")


# Refusals


BAD_PATHS = (
    (f"{SERVER_NAME}/unknown", (404, "M_NOT_FOUND")),
    (f"{SERVER_NAME}/..%2F..%2Fetc%2Fpasswd", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/%2E%2E", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/a%00b", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/a%C3%A4", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/{'a' * 256}", (400, "M_INVALID_PARAM")),
    ("..%2F..%2Fetc/passwd", (400, "M_INVALID_PARAM")),
    ("127.0.0.1%2F..%2Fx/abc", (400, "M_INVALID_PARAM")),
    ("user@evil.example/abc", (400, "M_INVALID_PARAM")),
    ("%5B::1/abc", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/abc?timeout_ms=soon", (400, "M_INVALID_PARAM")),
    (f"{SERVER_NAME}/abc/na%00me", (400, "M_INVALID_PARAM")),
)


async def test_uri_that_is_none_is_refused(alice: Client) -> None:
    for path, refusal in BAD_PATHS:
        assert (await asks(alice, "GET", f"{DOWNLOAD}/{path}")).refusal == refusal, path
        assert (await asks(alice, "GET", f"{OLD_DOWNLOAD}/{path}")).refusal == refusal, path


async def test_old_flags_must_be_flags(alice: Client, uri: str) -> None:
    for flag in ("allow_remote", "allow_redirect"):
        answer = await downloads(alice, uri, old=True, **{flag: "perhaps"})
        assert answer.refusal == (400, "M_INVALID_PARAM")


async def test_download_needs_a_token_and_guests_have_one(
    clients: ClientMaker, guest: Client, uri: str
) -> None:
    assert (await downloads(clients.nobody(), uri)).refusal == (401, "M_MISSING_TOKEN")
    assert (await downloads(guest, uri)).status == 200


async def test_quarantined_media_is_not_there(
    server: RunningServer, alice: Client, uri: str
) -> None:
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE media SET quarantined_by = '@admin:hs.example'")
    assert (await downloads(alice, uri)).refusal == (404, "M_NOT_FOUND")


# The freeze


async def test_old_paths_give_nothing_by_default(alice: Client, uri: str) -> None:
    assert (await downloads(alice, uri, old=True)).refusal == (404, "M_NOT_FOUND")


@pytest.fixture
async def open_server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that has not frozen the old paths, and blocks the media of some servers."""
    media = MediaSection(freeze_unauthenticated_ts=None, blocked_servers=("*.evil.example",))
    federation = FederationSection(enabled=False)
    async with server_of(database_dsn, tmp_path, media=media, federation=federation) as server:
        yield server


async def test_old_paths_of_every_version_answer_without_a_token(
    open_server: RunningServer,
) -> None:
    async with clients_of(open_server.url) as maker:
        alice, nobody = await maker.user("alice"), maker.nobody()
        uri = await uploads(alice, b"hello", "text/plain", filename="x.txt")
        for version in ("v3", "v1", "r0"):
            path = f"/_matrix/media/{version}/download/{path_of(uri)}"
            answer = await asks(nobody, "GET", path)
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.headers["Cache-Control"].startswith("public,")
            named = await asks(nobody, "GET", f"{path}/y.txt", allow_redirect="true")
            assert named.headers["Content-Disposition"] == 'inline; filename="y.txt"'


async def test_media_before_the_freeze_stays_reachable(database_dsn: str, tmp_path: Path) -> None:
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as maker:
        alice = await maker.user("alice")
        before, after = await uploads(alice, b"before"), await uploads(alice, b"after")
        icon = await uploads(alice, b"icon")
        async with server.base.database.connection() as connection:
            await connection.execute(
                "UPDATE media SET uploaded_ts = 1000 WHERE media_id = $1", before.split("/")[-1]
            )
    media = MediaSection(freeze_unauthenticated_ts=2000)
    cas = CasProvider(id="cas", name="CAS", server_url="https://cas.example/", icon=icon)
    single_sign_on = SingleSignOnSection(cas_providers=(cas,))
    async with (
        server_of(database_dsn, tmp_path, media=media, single_sign_on=single_sign_on) as server,
        clients_of(server.url) as maker,
    ):
        nobody = maker.nobody()
        assert (await downloads(nobody, before, old=True)).body == b"before"
        assert (await downloads(nobody, after, old=True)).refusal == (404, "M_NOT_FOUND")
        # "servers SHOULD exclude IdP icons": who logs in has no token yet.
        assert (await downloads(nobody, icon, old=True)).body == b"icon"


async def test_media_of_servers_that_are_not_asked_is_not_there(
    open_server: RunningServer,
) -> None:
    async with clients_of(open_server.url) as maker:
        alice = await maker.user("alice")
        for origin in ("other.example", "x.evil.example", "[::1]:8448", "1.2.3.4"):
            path = f"{origin}/abc"
            answer = await asks(alice, "GET", f"{DOWNLOAD}/{path}")
            assert answer.refusal == (404, "M_NOT_FOUND")
            old = await asks(alice, "GET", f"{OLD_DOWNLOAD}/{path}", allow_remote="false")
            assert old.refusal == (404, "M_NOT_FOUND")


async def test_access_is_written_down(server: RunningServer, alice: Client, uri: str) -> None:
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE media SET last_access_ts = 0")
        await downloads(alice, uri)
        await server.media.library._access_times.write()
        assert await connection.fetchval("SELECT last_access_ts FROM media") > 0


async def test_many_read_at_the_same_time(alice: Client, bob: Client, uri: str) -> None:
    answers = await asyncio.gather(*(downloads(each, uri) for each in (alice, bob) * 10))
    assert all(answer.body == BODY for answer in answers)
