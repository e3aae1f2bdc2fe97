"""Scanners of files: a program, or a service. Without a verdict nothing passes."""

import asyncio
import asyncio.subprocess
import contextlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import ClientSession  # noqa: TID251 - the operator's own service, wherever it is

from homeserver.config.sections.media import ScanSection
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from media_repo.file_reading import read_file
from media_repo.steps import ScanFailed, Scanner

log = get_logger(__name__)

_CLEAN_EXIT: Final = 0
_REFUSED_EXIT: Final = 1
_REFUSED_STATUSES: Final = (403, 406, 422)
# How long a verdict on bytes is good for, and how many are remembered.
_VERDICT_MS: Final = 60 * 60 * 1000
_MAX_VERDICTS: Final = 20_000


class CommandScanner:
    """Asks a program, which gets the path of the file as its last argument."""

    def __init__(self, command: Sequence[str], timeout_ms: int) -> None:
        self._command = tuple(command)
        self._timeout_ms = timeout_ms

    async def is_clean(self, path: Path) -> bool:
        """Return the verdict. Raises ScanFailed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                os.fspath(path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise ScanFailed(f"cannot be started: {error}") from error
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                status = await process.wait()
        except TimeoutError as error:
            raise ScanFailed("takes too long") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status not in (_CLEAN_EXIT, _REFUSED_EXIT):
            raise ScanFailed(f"ended with {status}")
        return status == _CLEAN_EXIT


class ServiceScanner:
    """Sends the file to a service and goes by the status of its answer."""

    def __init__(self, url: str, timeout_ms: int) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000)

    async def is_clean(self, path: Path) -> bool:
        """Return the verdict. Raises ScanFailed."""
        headers = {"Content-Type": "application/octet-stream"}
        try:
            async with (
                ClientSession(timeout=self._timeout) as session,
                session.post(
                    self._url,
                    data=read_file(path, 0, None),
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ScanFailed(str(error) or type(error).__name__) from error
        if status // 100 != 2 and status not in _REFUSED_STATUSES:
            raise ScanFailed(f"answered {status}")
        return status // 100 == 2


class Scans:
    """Has files scanned, a few at a time, and remembers the verdicts for an hour."""

    def __init__(self, scanner: Scanner | None, settings: ScanSection, clock: Clock) -> None:
        """`scanner` None: everything is clean."""
        self._scanner = scanner
        self._slots = asyncio.Semaphore(settings.at_once)
        self._clock = clock
        self._on_download = settings.on_download
        # SHA-256 → verdict and when it was given, the oldest first.
        self._verdicts: OrderedDict[bytes, tuple[bool, int]] = OrderedDict()

    @property
    def is_on(self) -> bool:
        """Whether there is a scanner."""
        return self._scanner is not None

    @property
    def on_download(self) -> bool:
        """Whether what is read has to be clean by a verdict of the last hour."""
        return self._scanner is not None and self._on_download

    def verdict_on(self, sha256: bytes) -> bool | None:
        """Return a verdict of the last hour; None: there is none."""
        is_clean, given_ts = self._verdicts.get(sha256, (None, 0))
        return is_clean if self._clock.now_ms() - given_ts < _VERDICT_MS else None

    async def is_clean(self, sha256: bytes, path: Path) -> bool:
        """Return the verdict on a file with the bytes; False too when there is none."""
        if self._scanner is None:
            return True
        remembered = self.verdict_on(sha256)
        if remembered is not None:
            return remembered
        try:
            async with self._slots:
                is_clean = await self._scanner.is_clean(path)
        except ScanFailed as error:
            log.error("media scanner failed", reason=str(error))
            return False
        self._remember(sha256, is_clean=is_clean)
        return is_clean

    def _remember(self, sha256: bytes, *, is_clean: bool) -> None:
        self._verdicts.pop(sha256, None)
        self._verdicts[sha256] = (is_clean, self._clock.now_ms())
        if len(self._verdicts) > _MAX_VERDICTS:
            self._verdicts.popitem(last=False)


def scanner_of(settings: ScanSection) -> Scanner | None:
    """Return the configured scanner, if any."""
    if settings.command:
        return CommandScanner(settings.command, settings.timeout_ms)
    if settings.url is not None:
        return ServiceScanner(settings.url, settings.timeout_ms)
    return None
