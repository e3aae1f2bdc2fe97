"""Bytes that arrive are written as they are, however they come in pieces."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from media_repo.spool import SpoolWriter

STEPS = [
    [],
    [b""],
    [b"one", b"", b"two"],
    [b"%d," % number for number in range(500)],
    [os.urandom(300_000), os.urandom(100_000)],
]


def writes_all(path: Path) -> None:
    writer = SpoolWriter(path)
    for step in STEPS:
        writer.write(step)
    file = writer.finish([b"end"])
    content = b"".join(b"".join(step) for step in STEPS) + b"end"
    assert path.read_bytes() == content
    assert (file.sha256, file.byte_count) == (hashlib.sha256(content).digest(), len(content))


def test_pieces_are_written_in_their_order(tmp_path: Path) -> None:
    writes_all(tmp_path / "file")


def test_what_the_disk_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(descriptor: int, content: bytes | memoryview) -> int:
        return write(descriptor, content[: len(content) // 2 + 1])

    def vector(descriptor: int, pieces: Sequence[bytes]) -> int:
        return half(descriptor, b"".join(pieces))

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "writev", vector)
    writes_all(tmp_path / "file")
