"""What stands before several nodes: one address that can be led to another node."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536


class FrontDoor:
    """Passes TCP connections on to a port, as a load balancer does, without looking into them."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._server: asyncio.Server | None = None
        self.url = ""

    def lead_to(self, port: int) -> None:
        """Pass new connections on to another port."""
        self._to_port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            inner = await asyncio.open_connection("127.0.0.1", self._to_port)
            with contextlib.closing(inner[1]):
                # When one side ends, so does the other.
                await asyncio.wait(
                    [
                        asyncio.create_task(copy(reader, inner[1])),
                        asyncio.create_task(copy(inner[0], writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
