"""Secrets that the server makes for itself."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import signedjson.key

from homeserver.protocol.errors import InvalidSigningKey
from homeserver.run.secret_files import load_secret, load_signing_key


def test_signing_key_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "signing.key"
    made = load_signing_key(path)
    assert load_signing_key(path) == made
    assert made.key_id.startswith("ed25519:a_")


def test_two_new_keys_differ_in_key_and_name(tmp_path: Path) -> None:
    first, second = load_signing_key(tmp_path / "a"), load_signing_key(tmp_path / "b")
    assert first.verify_key != second.verify_key
    assert first.key_id != second.key_id


def test_only_the_owner_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    load_signing_key(tmp_path / "signing.key")
    assert [path.name for path in tmp_path.iterdir()] == ["signing.key"]
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


def test_signedjson_reads_the_same_key(tmp_path: Path) -> None:
    ours = load_signing_key(tmp_path / "signing.key")
    with (tmp_path / "signing.key").open() as file:
        [theirs] = signedjson.key.read_signing_keys(file)
    assert f"{theirs.alg}:{theirs.version}" == ours.key_id
    assert theirs.encode() == ours.seed


def test_key_made_by_signedjson_is_read(tmp_path: Path) -> None:
    theirs = signedjson.key.generate_signing_key("auto")
    with (tmp_path / "signing.key").open("w") as file:
        signedjson.key.write_signing_keys(file, [theirs])
    assert load_signing_key(tmp_path / "signing.key").seed == theirs.encode()


@pytest.mark.parametrize("content", [b"", b"ed25519 a_1234 short", b"\xff\xfe", b"rsa a b"])
def test_damaged_key_is_reported_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    with pytest.raises(InvalidSigningKey, match=r"signing\.key"):
        load_signing_key(path)
    assert path.read_bytes() == content


def test_processes_that_start_together_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(load_secret, [tmp_path / "secret"] * 32))
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert len(made.pop()) == 32


@pytest.mark.parametrize("content", ["", "abcd", "no hexadecimal"])
def test_damaged_secret_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ValueError, match=r".+"):
        load_secret(tmp_path / "secret")
