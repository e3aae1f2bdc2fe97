"""Reading local files in pieces, without blocking and without holding much of them."""

import asyncio
import os
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 256 * 1024
# Where the system knows it: read only what is in memory already, which takes microseconds.
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", None)


class OpenFile:
    """A file that is open for reading; stays readable when its name goes."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Also when nobody closes it: those who share it do not know who is the last.
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._buffer = bytearray(PIECE_BYTES)
        self._may_not_wait = _NO_WAIT is not None

    @property
    def byte_count(self) -> int:
        """The size at the moment."""
        return os.fstat(self._descriptor).st_size

    async def read_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes, at most PIECE_BYTES; b"" at the end of the file."""
        count = min(count, PIECE_BYTES)
        if self._may_not_wait:
            read = self._read_cached(offset, count)
            if read is not None:
                return read
        return await asyncio.to_thread(os.pread, self._descriptor, count, offset)

    def close(self) -> None:
        """Close the file."""
        self._close()

    def _read_cached(self, offset: int, count: int) -> bytes | None:
        assert _NO_WAIT is not None
        window = memoryview(self._buffer)[:count]
        try:
            read = os.preadv(self._descriptor, [window], offset, _NO_WAIT)
        except BlockingIOError:
            return None
        except OSError:
            # The file system cannot say; nor will it for the next piece.
            self._may_not_wait = False
            return None
        # At the end of what is in memory nothing may be read although the file goes on.
        return bytes(window[:read]) if read else None


async def open_file(path: Path) -> OpenFile:
    """Open a file for reading. Raises FileNotFoundError."""
    return await asyncio.to_thread(OpenFile, path)


async def read_file(path: Path, start: int, end: int | None) -> AsyncIterator[bytes]:
    """Yield the bytes from `start` up to but not with `end`. Raises FileNotFoundError."""
    opened = await open_file(path)
    try:
        position = start
        while end is None or position < end:
            wanted = PIECE_BYTES if end is None else end - position
            piece = await opened.read_at(position, wanted)
            if not piece:
                return
            position += len(piece)
            yield piece
    finally:
        opened.close()
