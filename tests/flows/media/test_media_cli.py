"""`homeserver media` beside a running server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.run.cli import main
from homeserver.run.compose import RunningServer
from media_repo.store import key_of
from tests.support.client import Client
from tests.support.media import announces, downloads, uploads, uploads_to
from tests.support.media_lifecycle import is_there, looked_after, shows
from tests.support.object_store import S3Server, s3_server
from tests.support.server import SERVER_NAME

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture(scope="module")
def s3_process() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def settings(server: RunningServer, tmp_path: Path) -> dict[str, Any]:
    dsn = server.base.config.database.dsn
    assert dsn is not None
    return {
        "server": {"name": SERVER_NAME, "data_dir": str(tmp_path)},
        "database": {"dsn": dsn.reveal()},
    }


@pytest.fixture
def run(settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an action and returns exit code and output."""
    config = tmp_path / "homeserver.yaml"
    config.write_text(json.dumps(settings))

    async def command(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        whole = ["media", arguments[0], "--config", str(config), *arguments[1:]]
        code = await asyncio.to_thread(main, whole)
        out, err = capsys.readouterr()
        return code, out if code == 0 else f"{out}{err}"

    return command


@pytest.fixture
async def uris(alice: Client, bob: Client) -> list[str]:
    """Two of alice's files, one of bob's with the bytes of alice's first."""
    return [await uploads(who, what) for who, what in ((alice, b"a"), (alice, b"b"), (bob, b"a"))]


async def _there(client: Client, uris: list[str]) -> list[bool]:
    return [await is_there(client, uri) for uri in uris]


async def test_usage_is_told_by_user(run: Run, alice: Client, uris: list[str]) -> None:
    code, said = await run("usage")
    assert code == 0
    assert "the store: 2 files" in said
    assert f"{alice.user_id}: 2 files" in said


async def test_quarantine_hides_the_same_bytes_everywhere(
    run: Run, alice: Client, uris: list[str]
) -> None:
    assert (await run("quarantine", uris[0]))[1].endswith("hidden: 2 media\n")
    assert await _there(alice, uris) == [False, True, False]
    assert (await downloads(alice, uris[0])).refusal == (404, "M_NOT_FOUND")
    # Who uploads them again, at once or later, gains nothing by that.
    announced = (await announces(alice))["content_uri"]
    again = [await uploads(alice, b"a"), announced]
    await uploads_to(alice, announced, b"a")
    assert await _there(alice, again) == [False, False]
    assert (await run("release", *uris))[1].endswith("released: 2 media\n")
    assert await _there(alice, uris) == [True, True, True]


async def test_what_is_protected_is_neither_hidden_nor_removed(
    run: Run, alice: Client, bob: Client, uris: list[str]
) -> None:
    assert (await run("protect", uris[0]))[1].endswith("protected: 1 media\n")
    await run("quarantine", "--user", alice.user_id)
    await run("purge", "--user", alice.user_id)
    assert await _there(bob, uris) == [True, False, False]
    assert (await run("unprotect", uris[0]))[1].endswith("no longer protected: 1 media\n")
    await run("purge", uris[0])
    assert await _there(bob, uris) == [False, False, False]


async def test_a_user_s_media_is_purged(run: Run, alice: Client, uris: list[str]) -> None:
    code, said = await run("purge", "--user", alice.user_id, "--dry-run")
    assert (code, said) == (0, "chosen: 2 media, 2 bytes\n")
    assert await _there(alice, uris) == [True, True, True]
    await run("purge", "--user", alice.user_id)
    assert await _there(alice, uris) == [False, False, True]


async def test_a_room_s_media_is_hidden(run: Run, alice: Client, uris: list[str]) -> None:
    room, other = await alice.creates_room(), await alice.creates_room()
    await shows(alice, room, uris[1])
    await shows(alice, other, uris[0])
    await looked_after(alice, room)
    assert (await run("quarantine", "--room", room))[1].endswith("hidden: 1 media\n")
    assert await _there(alice, uris) == [True, False, True]


async def test_remote_media_is_hidden_before_it_ever_comes(run: Run) -> None:
    uri = "mxc://elsewhere.example/abc"
    assert (await run("quarantine", uri))[1].endswith("hidden: 1 media\n")
    assert (await run("quarantine", uri))[1].endswith("hidden: 0 media\n")
    # It stays hidden even if it is purged, or it would be fetched anew.
    assert (await run("purge", uri))[1].endswith("removed: 0 media\n")
    assert (await run("release", uri))[1].endswith("released: 1 media\n")


async def test_age_chooses(run: Run, server: RunningServer, uris: list[str], bob: Client) -> None:
    async with server.base.database.connection() as connection:
        await connection.execute(
            "UPDATE media SET last_access_ts = 0 WHERE media_id = $1", uris[1].rsplit("/", 1)[1]
        )
    assert (await run("purge", "--local", "--unused-days", "1"))[1].endswith("removed: 1 media\n")
    assert await _there(bob, uris) == [True, False, True]
    assert (await run("purge", "--remote", "--older-days", "0"))[1].endswith("removed: 0 media\n")


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
async def test_nothing_chosen_is_not_everything(
    run: Run, bob: Client, uris: list[str], arguments: tuple[str, ...]
) -> None:
    assert (await run("purge", *arguments))[0] == 1
    assert await _there(bob, uris) == [True, True, True]


@pytest.mark.parametrize("arguments", [("https://x/y",), ("--unused-days", "-1"), ("mxc://a",)])
async def test_what_cannot_be_meant_is_not_understood(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        await run("purge", *arguments)


def _file(tmp_path: Path, sha256: str) -> Path:
    return tmp_path / "media" / key_of(bytes.fromhex(sha256))


SHA256_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
SHA256_B = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"


async def test_verify_finds_what_is_missing_and_what_is_other(
    run: Run, uris: list[str], tmp_path: Path
) -> None:
    assert (await run("verify"))[0] == 0
    _file(tmp_path, SHA256_A).unlink()
    _file(tmp_path, SHA256_B).write_bytes(b"c")
    code, said = await run("verify")
    assert code == 1
    assert f"{SHA256_A} is missing" in said
    assert f"{SHA256_B} has other bytes" in said


async def test_media_moves_to_a_bucket_and_back(
    run: Run,
    uris: list[str],
    alice: Client,
    settings: dict[str, Any],
    s3_process: S3Server,
    tmp_path: Path,
) -> None:
    s3_process.empty()
    store = s3_process.section()
    bucket = {
        "url": store.url,
        "options": dict(store.options),
        "secret": "secret",
        "allow_http": True,
    }
    target = tmp_path / "bucket.yaml"
    target.write_text(json.dumps({**settings, "media": {"object_store": bucket}}))
    assert (await run("move", "--to", str(target)))[0] == 0
    assert sorted(s3_process.objects().values()) == [1, 1]
    # The server still reads the folder.
    assert await _there(alice, uris) == [True, True, True]
    assert (await run("move", "--to", str(target), "--remove"))[0] == 0
    assert not _file(tmp_path, SHA256_A).exists()
    folder = tmp_path / "homeserver.yaml"
    code, _ = await run("move", "--config", str(target), "--to", str(folder), "--remove")
    assert code == 0
    assert s3_process.objects() == {}
    assert (await downloads(alice, uris[0])).body == b"a"


async def test_a_move_says_what_is_damaged_and_removes_nothing(
    run: Run, uris: list[str], settings: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "other.yaml"
    target.write_text(json.dumps({**settings, "media": {"path": str(tmp_path / "other")}}))
    _file(tmp_path, SHA256_B).write_bytes(b"c")
    code, said = await run("move", "--to", str(target), "--remove")
    assert code == 1
    assert f"{SHA256_B} has other bytes" in said
    assert _file(tmp_path, SHA256_A).exists()
    moved = tmp_path / "other" / key_of(bytes.fromhex(SHA256_A))
    assert moved.read_bytes() == b"a"


async def test_a_store_does_not_replace_itself(run: Run, uris: list[str], tmp_path: Path) -> None:
    same = str(tmp_path / "homeserver.yaml")
    assert (await run("move", "--to", same, "--remove"))[0] == 1
    assert _file(tmp_path, SHA256_A).exists()
