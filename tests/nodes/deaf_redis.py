"""A Redis whose published messages never arrive; everything else about it works."""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.nodes.front_door import copy

# Redis tells a subscriber of a message as an array (RESP2) or a push (RESP3) that begins with one
# of these.
_PUBLISHED = (b"$7\r\nmessage\r\n", b"$8\r\npmessage\r\n", b"$8\r\nsmessage\r\n")

# Arrays, pushes, sets and maps hold further values.
_VALUES_PER_ITEM = {b"*": 1, b">": 1, b"~": 1, b"%": 2}


class DeafRedis:
    """Stands between the nodes and Redis, and swallows each message on its way to a node."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._redis_socket = redis_url.removeprefix("unix://")
        self._own_socket = folder / "deaf.sock"
        self._server: asyncio.Server | None = None
        self.url = f"unix://{self._own_socket}"
        self.swallowed = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._own_socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            redis_reader, redis_writer = await asyncio.open_unix_connection(self._redis_socket)
            with contextlib.closing(redis_writer):
                await asyncio.wait(
                    [
                        asyncio.create_task(copy(reader, redis_writer)),
                        asyncio.create_task(self._copy_all_but_messages(redis_reader, writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async def _copy_all_but_messages(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                value = await _read_value(reader)
                _, _, inner = value.partition(b"\r\n")
                if value[:1] in b"*>" and inner.startswith(_PUBLISHED):
                    self.swallowed += 1
                    continue
                writer.write(value)
                await writer.drain()


async def _read_value(reader: asyncio.StreamReader) -> bytes:
    """Read one value of the Redis protocol, with all that is in it, as it is."""
    line = await reader.readuntil(b"\r\n")
    kind, count = line[:1], line[1:-2]
    if kind in b"$=!":
        return line if int(count) < 0 else line + await reader.readexactly(int(count) + 2)
    if kind not in _VALUES_PER_ITEM:
        return line
    values = _VALUES_PER_ITEM[kind] * max(int(count), 0)
    return line + b"".join([await _read_value(reader) for _ in range(values)])
