"""Having pages and images read by the process for it, see `worker.py`."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import msgspec

from homeserver.telemetry.log import get_logger
from media_repo.previews.page import PageFacts
from media_repo.previews.pictures import Picture
from media_repo.previews.worker_jobs import (
    JOB_SECONDS,
    LENGTH,
    Job,
    JobAnswer,
    ReadPage,
    ReadPicture,
)

log = get_logger(__name__)

# The start of the process comes on top of what the job takes.
_ANSWER_SECONDS: Final = JOB_SECONDS + 10
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_WORKER: Final = "media_repo.previews.worker"


class Reading:
    """Reads one page or image at a time; the process begins with the first."""

    def __init__(self) -> None:
        self._one_by_one = asyncio.Lock()
        self._process: Process | None = None
        self._decoder = msgspec.msgpack.Decoder(JobAnswer)

    async def page(self, raw: bytes, charset: str | None) -> PageFacts | None:
        """Read a page; None: it cannot be read in a reasonable time."""
        return (await self._ask(ReadPage(raw, charset))).page

    async def picture(self, path: Path) -> Picture | None:
        """Look at a file; None: it is no image."""
        return (await self._ask(ReadPicture(str(path)))).picture

    async def close(self) -> None:
        """End the process."""
        async with self._one_by_one:
            await self._end()

    async def _ask(self, job: Job) -> JobAnswer:
        async with self._one_by_one:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    return self._decoder.decode(await self._answer(msgspec.msgpack.encode(job)))
            except (asyncio.IncompleteReadError, OSError, TimeoutError, ValueError) as error:
                log.warning("a previewed page could not be read", reason=type(error).__name__)
                await self._end()
                return JobAnswer()
            except asyncio.CancelledError:
                # The answer would be taken for that of the next job.
                await self._end()
                raise

    async def _answer(self, message: bytes) -> bytes:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(message)) + message)
        await process.stdin.drain()
        (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if size > _MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
        return await process.stdout.readexactly(size)

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            # In a session of its own: signals to the server's group are not for it.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _WORKER, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
