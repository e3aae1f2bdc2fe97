"""Uploading and downloading: peak memory with one large file, rate and CPU with many of 1 MB.

python -m benchmarks.media [--large_mb 2048] [--files 300] [--at_once 8]
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from benchmarks.support.http_client import User
from benchmarks.support.processes import memory_of
from benchmarks.support.report import say
from benchmarks.support.server import cpu_of, options, run, running_server
from tests.support.processes import ServerProcess

_MB = 1024 * 1024
_PIECE = os.urandom(_MB)
_SAMPLE_SECONDS = 0.05


async def _large(size_mb: int) -> AsyncIterator[bytes]:
    for _ in range(size_mb):
        yield _PIECE


class _Peak:
    """The largest resident size of a process while it is watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.bytes = 0

    async def watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, memory_of(self._pid).resident)
            await asyncio.sleep(_SAMPLE_SECONDS)


async def _uploads(session: aiohttp.ClientSession, content: Any) -> str:
    async with session.post("/_matrix/media/v3/upload", data=content) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer["content_uri"].removeprefix("mxc://")


async def _downloads(session: aiohttp.ClientSession, media: str) -> int:
    count = 0
    async with session.get(f"/_matrix/client/v1/media/download/{media}") as response:
        assert response.status == 200
        async for piece in response.content.iter_any():
            count += len(piece)
    return count


async def large_file(server: ServerProcess, session: aiohttp.ClientSession, size_mb: int) -> None:
    before = memory_of(server.pid).resident
    peak = _Peak(server.pid)
    watching = asyncio.create_task(peak.watch())
    for name in ("up", "down"):
        started, cpu = time.monotonic(), cpu_of(server)
        if name == "up":
            media = await _uploads(session, _large(size_mb))
        else:
            assert await _downloads(session, media) == size_mb * _MB
        seconds = time.monotonic() - started
        say(f"{size_mb} MB {name}", "MB/s", [size_mb / seconds])
        say("  CPU", "ms/MB", [cpu_of(server).since(cpu).total * 1000 / size_mb])
        say("  peak memory above that before", "MB", [(peak.bytes - before) / _MB])
    watching.cancel()


async def many_files(
    server: ServerProcess, session: aiohttp.ClientSession, files: int, at_once: int
) -> None:
    slots = asyncio.Semaphore(at_once)
    # Every file differs, or they would all be kept as one.
    contents = [number.to_bytes(8, "big") + _PIECE[8:] for number in range(files)]

    async def limited(work: Any) -> Any:
        async with slots:
            return await work

    started, cpu = time.monotonic(), cpu_of(server)
    media = await asyncio.gather(*(limited(_uploads(session, each)) for each in contents))
    used, seconds = cpu_of(server).since(cpu), time.monotonic() - started
    say("uploads of 1 MB", "per second", [files / seconds])
    say("  CPU of the server", "ms each", [used.server * 1000 / files], "≤ 3 ms")
    say("  CPU of PostgreSQL", "ms each", [used.postgres * 1000 / files])
    started, cpu = time.monotonic(), cpu_of(server)
    await asyncio.gather(*(limited(_downloads(session, each)) for each in media))
    used, seconds = cpu_of(server).since(cpu), time.monotonic() - started
    say("downloads of 1 MB", "per second", [files / seconds])
    say("  CPU of the server", "ms each", [used.server * 1000 / files])


async def measure(server: ServerProcess, chosen: Any) -> None:
    alice = await User.register(server.port, "alice")
    async with aiohttp.ClientSession(
        server.url,
        headers={"Authorization": f"Bearer {alice.token}"},
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        await many_files(server, session, chosen.files, chosen.at_once)
        await large_file(server, session, chosen.large_mb)


if __name__ == "__main__":
    chosen = options(__doc__, large_mb=2048, files=300, at_once=8)
    limit = {"MEDIA_MAX_UPLOAD_BYTES": str((chosen.large_mb + 1) * _MB)}
    with running_server(limit) as server:
        run(measure, server, chosen)
