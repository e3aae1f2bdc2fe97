"""The wire to a server, which a test may cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.processes import free_port

_CHUNK_BYTES = 65_536


class Link:
    """Carries connections from its port to the one of a server."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target_port = free_port()
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """End all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            with contextlib.closing(far_writer), contextlib.closing(writer):
                there = asyncio.create_task(_copy(reader, far_writer))
                back = asyncio.create_task(_copy(far_reader, writer))
                try:
                    await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    there.cancel()
                    back.cancel()
                    await asyncio.gather(there, back, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Cut, or nobody is there yet: either way the connection has ended.
            writer.close()
        finally:
            self._carrying.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


@contextlib.asynccontextmanager
async def link() -> AsyncIterator[Link]:
    """Make a wire; the server at its end may come later."""
    made = Link()
    await made.mend()
    try:
        yield made
    finally:
        await made.cut()
