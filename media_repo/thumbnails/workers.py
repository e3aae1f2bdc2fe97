"""The processes that make thumbnails: a few, started when needed, ended when idle or hung."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from homeserver.errors import LimitExceeded
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from media_repo.thumbnails.job import Answer, Job, Limits, Made, Refused
from media_repo.thumbnails.sizes import WantedSize

log = get_logger(__name__)

# A new interpreter with nothing of the environment but where this package is.
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from media_repo.thumbnails.worker import main; main()"
)
_PACKAGE_FOLDER: Final = Path(__file__).resolve().parents[2]
# The allocator's arenas for threads count as memory although nothing is in them.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1"}
# Beyond its computing time, for a file that comes slowly or a machine that is busy.
_EXTRA_SECONDS: Final = 20
_MAX_ANSWER_BYTES: Final = 64 * 1024
_MAX_THUMBNAIL_BYTES: Final = 256 * 1024 * 1024
_IDLE_SECONDS: Final = 60.0
_RETRY_AFTER_MS: Final = 2000

Thumbnail = tuple[Made, bytes]


class _WorkerFailed(Exception):
    """A worker has ended, hung, or answered nonsense."""


class _WorkerGone(_WorkerFailed):
    """A worker has ended: because of the file, or before it came to it."""


class _Worker:
    """One process; it has one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process, idle_since: float) -> None:
        self._process = process
        self.idle_since = idle_since

    @classmethod
    async def start(cls, limits: Limits) -> "_Worker":
        """Start a process. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-c", _START, str(_PACKAGE_FOLDER)),
            msgspec.json.encode(limits).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_ENVIRONMENT,
            # Its children die with it, and the terminal's signals do not reach it.
            start_new_session=True,
            limit=_MAX_ANSWER_BYTES,
        )
        return cls(process, 0.0)

    @property
    def pid(self) -> int:
        """The process, whose session and process group have the same number."""
        return self._process.pid

    async def work(self, job: Job, timeout_seconds: float) -> list[Thumbnail]:
        """Have a job done. Raises Refused, _WorkerFailed: then nothing more can be asked."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._ask(job)
        # Timeouts are OSErrors too.
        except (TimeoutError, ValueError, msgspec.MsgspecError) as error:
            raise _WorkerFailed(type(error).__name__) from error
        except (OSError, EOFError) as error:
            raise _WorkerGone(type(error).__name__) from error

    async def _ask(self, job: Job) -> list[Thumbnail]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(msgspec.json.encode(job) + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer = msgspec.json.decode(line, type=Answer)
        if answer.refusal is not None:
            raise Refused(answer.refusal)
        if len(answer.made) != len(job.sizes):
            raise ValueError("other thumbnails than asked for")
        thumbnails = []
        for made in answer.made:
            if not 0 <= made.byte_count <= _MAX_THUMBNAIL_BYTES:
                raise ValueError("a thumbnail of an impossible size")
            thumbnails.append((made, await stdout.readexactly(made.byte_count)))
        return thumbnails

    def kill(self) -> None:
        """Kill the process and all that it has started; `end` must follow."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End the process, whatever it does, and all that it has started."""
        self.kill()
        # Reads the pipes to their ends, so that nothing of them stays open.
        await self._process.communicate()


class ThumbnailWorkers:
    """Makes thumbnails in processes of its own, a few at a time."""

    def __init__(self, limits: Limits, *, count: int, max_waiting: int, clock: Clock) -> None:
        """`count` processes at most, `max_waiting` jobs that wait for one of them."""
        self._limits = limits
        self._clock = clock
        self._turns = asyncio.Semaphore(count)
        self._room = count + max_waiting
        self._jobs = 0
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that are there."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def make(self, path: Path, sizes: Sequence[WantedSize]) -> list[Thumbnail]:
        """Return thumbnails of a file, in the order of their sizes.

        Raises Refused, LimitExceeded: too many wait already.
        """
        if self._jobs >= self._room:
            raise LimitExceeded(_RETRY_AFTER_MS, "Too many thumbnails are being made")
        self._jobs += 1
        try:
            async with self._turns:
                return await self._done(Job(str(path), list(sizes)))
        finally:
            self._jobs -= 1

    async def _done(self, job: Job) -> list[Thumbnail]:
        try:
            if self._idle:
                try:
                    return await self._in_worker(self._idle.pop(), job)
                except _WorkerGone:
                    # It may have ended while it was idle, when the machine was short of memory.
                    log.warning("thumbnail worker was gone")
            return await self._in_worker(await _Worker.start(self._limits), job)
        except _WorkerFailed as error:
            # A file that kills its worker would kill the next one.
            log.warning("thumbnail worker ended in the middle of a job", reason=str(error))
            raise Refused("broken") from error

    async def _in_worker(self, worker: _Worker, job: Job) -> list[Thumbnail]:
        self._busy.add(worker)
        is_usable = False
        try:
            thumbnails = await worker.work(job, self._limits.cpu_seconds + _EXTRA_SECONDS)
            is_usable = True
        except Refused:
            is_usable = True
            raise
        finally:
            self._busy.discard(worker)
            if is_usable:
                worker.idle_since = self._clock.monotonic()
                self._idle.append(worker)
            else:
                await asyncio.shield(worker.end())
        return thumbnails

    async def end_idle(self) -> None:
        """End the processes that have had nothing to do for a minute. For a periodic task."""
        before = self._clock.monotonic() - _IDLE_SECONDS
        ended = [worker for worker in self._idle if worker.idle_since < before]
        self._idle = [worker for worker in self._idle if worker not in ended]
        for worker in ended:
            await worker.end()

    async def stop(self) -> None:
        """End all processes; jobs that are not done fail."""
        for worker in self._busy:
            # Who waits for it ends it.
            worker.kill()
        idle, self._idle = self._idle, []
        for worker in idle:
            await worker.end()
