"""Files of an object store that are kept on this machine too, the least used removed first.

Any number of processes share the folder. The time of the last use is the file's own
modification time.
"""

import asyncio
import os
from pathlib import Path

import msgspec

# How much may come on top before the folder is looked through again.
_SLACK = 0.05


class _CachedFile(msgspec.Struct, frozen=True):
    used_at: float
    byte_count: int
    path: Path


class FileCache:
    """A folder of files by key, of a bounded size."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`max_bytes` 0 keeps nothing."""
        self._folder = folder
        self._max_bytes = max_bytes
        # As if it were full: the first file has the folder looked through.
        self._since_sweep = max_bytes
        self._sweeping = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._max_bytes > 0

    async def find(self, key: str) -> Path | None:
        """Return a file that is kept, and take note of its use."""
        return await asyncio.to_thread(self._used, self._folder / key) if self.is_on else None

    async def add(self, key: str, path: Path, byte_count: int) -> None:
        """Take a file, or remove it if it is too large; nothing is at `path` afterwards."""
        if not self.is_on or byte_count > self._max_bytes:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            return
        await asyncio.to_thread(_move, path, self._folder / key)
        self._since_sweep += byte_count
        if self._since_sweep > self._max_bytes * _SLACK:
            await self._sweep()

    async def remove(self, key: str) -> None:
        """Remove a file; it may be gone."""
        await asyncio.to_thread((self._folder / key).unlink, missing_ok=True)

    async def _sweep(self) -> None:
        if self._sweeping.locked():
            return
        async with self._sweeping:
            self._since_sweep = 0
            await asyncio.to_thread(_shrink, self._folder, self._max_bytes)

    def _used(self, path: Path) -> Path | None:
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    source.replace(target)


def _shrink(folder: Path, max_bytes: int) -> None:
    files = _files_in(folder)
    excess = sum(each.byte_count for each in files) - max_bytes
    for each in sorted(files, key=lambda file: file.used_at):
        if excess <= 0:
            return
        each.path.unlink(missing_ok=True)
        excess -= each.byte_count


def _files_in(folder: Path) -> list[_CachedFile]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # another process has been faster
            found.append(_CachedFile(stat.st_mtime, stat.st_size, path))
    return found
