"""A file that one writes and others read at the same time, from the beginning."""

import asyncio
from collections.abc import AsyncIterator

from homeserver.errors import MatrixError, TooLarge
from media_repo.file_reading import PIECE_BYTES, OpenFile, open_file
from media_repo.spool import Spool, SpooledFile, SpoolWriter


class Arrival:
    """Content that is on its way from another server or an object store."""

    def __init__(self) -> None:
        self._writer: SpoolWriter | None = None
        # Shared by all readers; stays readable when the file is moved or removed.
        self._opened: OpenFile | None = None
        self._written = 0
        self._file: SpooledFile | None = None
        self._error: Exception | None = None
        self._progress = asyncio.Event()

    async def fill(
        self,
        spool: Spool,
        chunks: AsyncIterator[bytes],
        *,
        max_bytes: int | None = None,
        too_large: MatrixError | None = None,
    ) -> SpooledFile:
        """Write what comes, to its end; readers follow. Raises what `chunks` raise, `too_large`.

        The caller disposes of the file; whoever reads reads on. After an error it is gone.
        """
        try:
            writer = self._writer = SpoolWriter(spool.new_path())
            await asyncio.to_thread(writer.write, [])
            self._opened = await open_file(writer.path)
            self._tell()
            async for chunk in chunks:
                if max_bytes is not None and self._written + len(chunk) > max_bytes:
                    raise too_large or TooLarge()
                await asyncio.to_thread(writer.write, [chunk])
                self._written += len(chunk)
                self._tell()
            self._file = await asyncio.to_thread(writer.finish, [])
        except BaseException as error:
            await self._abandon(error)
            raise
        self._tell()
        return self._file

    @property
    def is_broken_off(self) -> bool:
        """Whether the content has failed to come whole."""
        return self._error is not None

    async def _abandon(self, error: BaseException) -> None:
        self._error = error if isinstance(error, Exception) else ConnectionResetError()
        self._tell()
        if self._writer is not None:
            await asyncio.shield(asyncio.to_thread(self._writer.abandon))

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content as it comes. Raises what broke it off."""
        position = 0
        while True:
            while self._opened is None or position == self._written:
                if self._file is not None:
                    return
                await self._next()
            count = min(self._written - position, PIECE_BYTES)
            piece = await self._opened.read_at(position, count)
            position += len(piece)
            yield piece

    async def _next(self) -> None:
        if self._error is not None:
            raise self._error
        await self._progress.wait()

    def _tell(self) -> None:
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
