"""Files that are arriving: written under names that nobody else looks at, hashed on the way.

Every process has a folder of its own inside the spool and holds a lock on it. What a process
leaves behind that was killed is removed when the next one starts on the same host: its lock is
gone with it. Folders of other hosts, on a disk that they share, are left to them.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec

from homeserver.errors import TooLarge

# One step of writing and hashing in a thread: about a millisecond of work. Most files are one step.
WRITE_BYTES: Final = 1024 * 1024
# Buffers that every system takes at once.
_MAX_VECTOR: Final = 16
_NAME_BYTES: Final = 12
_SAFE_NAME: Final = re.compile(r"[^0-9A-Za-z.]")
_LOCK_NAME: Final = "lock"


class SpooledFile(msgspec.Struct, frozen=True):
    """A file that has arrived whole and is on the disk."""

    path: Path
    sha256: bytes
    byte_count: int


class SpoolWriter:
    """Writes one file of the spool. Its methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.byte_count = 0
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None

    def write(self, pieces: list[bytes]) -> None:
        """Append bytes; the first call makes the file."""
        descriptor = self._open()
        for piece in pieces:
            self._hash.update(piece)
        byte_count = sum(map(len, pieces))
        # At once: each call lets go of the interpreter, and has to wait for it again.
        written = os.writev(descriptor, pieces) if 0 < len(pieces) <= _MAX_VECTOR else 0
        if written < byte_count:
            # Very many small pieces, or a disk that is nearly full and says so now.
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        self.byte_count += byte_count

    def finish(self, pieces: list[bytes]) -> SpooledFile:
        """Append the last bytes, have the disk keep them all, and return the file."""
        self.write(pieces)
        os.fsync(self._open())
        self._close()
        return SpooledFile(self.path, self._hash.digest(), self.byte_count)

    def abandon(self) -> None:
        """Remove the file."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o640)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Spool:
    """The files that are arriving at this process."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._host = _SAFE_NAME.sub("_", socket.gethostname())
        self._own = folder / f"{self._host}-{secrets.token_hex(_NAME_BYTES)}"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folder and remove those of dead processes. Blocks. Raises OSError."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Two that start at once must not take each other's new folder for a dead one.
        with _locked(self._root / _LOCK_NAME):
            for folder in self._root.glob(f"{self._host}-*"):
                _remove_if_dead(folder)
            self._own.mkdir(mode=0o750)
            self._lock = os.open(self._own / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove everything of this process. Blocks."""
        if self._lock is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def new_path(self) -> Path:
        """Return a name for a new file; who makes the file removes or renames it."""
        return self._own / secrets.token_hex(_NAME_BYTES)

    async def receive(self, chunks: AsyncIterator[bytes], max_bytes: int) -> SpooledFile:
        """Write and hash what arrives. Raises TooLarge, OSError and whatever `chunks` raise.

        The caller removes the file (`discard`), or gives it to the store, which takes it away.
        """
        writer = SpoolWriter(self.new_path())
        try:
            waiting: list[bytes] = []
            waiting_bytes = 0
            received = 0
            async for chunk in chunks:
                received += len(chunk)
                if received > max_bytes:
                    raise TooLarge(f"The content is larger than {max_bytes} bytes")
                waiting.append(chunk)
                waiting_bytes += len(chunk)
                if waiting_bytes > WRITE_BYTES:
                    await asyncio.to_thread(writer.write, waiting)
                    waiting, waiting_bytes = [], 0
            return await asyncio.to_thread(writer.finish, waiting)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(writer.abandon))
            raise

    async def adopt(self, path: Path) -> SpooledFile:
        """Hash a file that somebody else has written under a name of this spool."""
        return await asyncio.to_thread(_adopted, path)

    async def discard(self, path: Path) -> None:
        """Remove a file; it may be gone."""
        await asyncio.to_thread(path.unlink, missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _adopted(path: Path) -> SpooledFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        byte_count = file.tell()
        os.fsync(file.fileno())
    return SpooledFile(path, digest, byte_count)


def _remove_if_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Killed between making the folder and its lock.
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
