"""The store of all bytes, by SHA-256: the same bytes are there once, whoever uploads them.

How a file comes in (`keep`): it has arrived in the spool and its hash is known; its blob is
announced; if the place does not have it, it is put there; then one transaction marks it as stored
and adds whatever refers to it. How it goes (`collect`): what has had no reference for an hour is
first marked as not stored, so that who comes with the same bytes puts them there again; then row
and file go while the row is locked. A crash between any two steps leaves a blob without
references, which goes the same way; nothing is ever seen half.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from homeserver.errors import NotFound
from homeserver.storage import media_blobs
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks
from media_repo.arrivals import Arrival
from media_repo.cache import FileCache
from media_repo.file_reading import read_file
from media_repo.places import Place, PlaceUnavailable
from media_repo.spool import Spool, SpooledFile

log = get_logger(__name__)

_T = TypeVar("_T")

# Longer than any upload to an object store takes; after it, unreferenced bytes are removed.
UNREFERENCED_MS: Final = 60 * 60 * 1000
_COLLECT_AT_ONCE: Final = 100
# Each time a file was removed while it was being put there, for which it must be an hour old.
_ATTEMPTS: Final = 3


class MediaStore:
    """Keeps bytes and gives them back."""

    def __init__(
        self,
        place: Place,
        *,
        spool: Spool,
        cache: FileCache,
        database: Database,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        """`cache` is for places that are not on this machine."""
        self.spool: Final = spool
        self._place = place
        self._cache = cache
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._fetching: dict[str, Arrival] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def keep(self, file: SpooledFile, add: Callable[[Transaction], Awaitable[_T]]) -> _T:
        """Put a file into the store and return what `add` returns, which must refer to it.

        `add` runs in the transaction that marks the bytes as stored, possibly more than once;
        when it raises, nothing has happened. The file is taken away in any case. Raises
        PlaceUnavailable.
        """

        async def mark_and_add(connection: Connection) -> _T | None:
            async with connection.transaction():
                if not await media_blobs.mark_stored(connection, file.sha256):
                    return None
                return await add(connection)

        return await self.keep_with(file, mark_and_add)

    async def keep_with(
        self, file: SpooledFile, mark_and_add: Callable[[Connection], Awaitable[_T | None]]
    ) -> _T:
        """Do the same where one statement marks and adds; None: the bytes were not announced."""
        stays = True
        try:
            for _ in range(_ATTEMPTS):
                stays = await self._put(file)
                async with self._database.connection("media keep") as connection:
                    added = await mark_and_add(connection)
                if added is not None:
                    await self._cache_new(file)
                    return added
                if not stays:
                    break
            raise PlaceUnavailable("the bytes are removed as fast as they come")
        finally:
            if stays:
                await self.spool.discard(file.path)

    async def _put(self, file: SpooledFile) -> bool:
        """Have the place hold a file; returns whether it stays in the spool too."""
        now_ts = self._clock.now_ms()
        async with self._database.connection("media keep") as connection:
            is_stored = await media_blobs.announce(connection, file.sha256, file.byte_count, now_ts)
        if is_stored:
            return True
        return await self._place.put(key_of(file.sha256), file.path, file.byte_count)

    async def _cache_new(self, file: SpooledFile) -> None:
        key = key_of(file.sha256)
        if self._place.local_path(key) is None and await self._cache.find(key) is None:
            await self._cache.add(key, file.path, file.byte_count)

    async def find_local(self, sha256: bytes) -> Path | None:
        """Return the file if it is on this machine; it may go at any moment."""
        key = key_of(sha256)
        return self._place.local_path(key) or await self._cache.find(key)

    async def read(
        self, sha256: bytes, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to but not with `end`, both within the file.

        Raises NotFound: they are lost; PlaceUnavailable.
        """
        try:
            local = await self.find_local(sha256)
            if local is not None:
                pieces = read_file(local, start, end)
            elif start == 0 and end is None and self._cache.is_on:
                pieces = self._fetch(sha256).read()
            else:
                pieces = self._place.read(key_of(sha256), start, end)
            async with contextlib.aclosing(pieces):  # type: ignore[type-var]  # all are generators
                async for piece in pieces:
                    yield piece
        except FileNotFoundError as error:
            log.error("media file is missing", sha256=sha256.hex())
            raise NotFound("The content is lost") from error

    @contextlib.asynccontextmanager
    async def local_file(self, sha256: bytes) -> AsyncIterator[Path]:
        """Lend a file with the bytes, which stays there until the end of the block.

        Raises NotFound: they are lost; PlaceUnavailable.
        """
        lent = self.spool.new_path()
        try:
            local = await self.find_local(sha256)
            if local is None or not await asyncio.to_thread(_link, local, lent):
                await self._copy(sha256, lent)
            yield lent
        finally:
            await self.spool.discard(lent)

    async def _copy(self, sha256: bytes, path: Path) -> None:
        received = await self.spool.receive(self.read(sha256), _UNLIMITED)
        await asyncio.to_thread(received.path.replace, path)

    def _fetch(self, sha256: bytes) -> Arrival:
        """Have a file brought into the cache, once for all who want it."""
        key = key_of(sha256)
        arrival = self._fetching.get(key)
        # One that has broken off is cleaned up meanwhile: whoever comes now asks anew.
        if arrival is None or arrival.is_broken_off:
            arrival = self._fetching[key] = Arrival()
            running = self._tasks.spawn("media fetch", self._bring(key, arrival))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        return arrival

    async def _bring(self, key: str, arrival: Arrival) -> None:
        try:
            file = await arrival.fill(self.spool, self._place.read(key, 0, None))
            await self._cache.add(key, file.path, file.byte_count)
        except (FileNotFoundError, PlaceUnavailable) as error:
            log.warning("media cannot be fetched from the store", reason=str(error))
        finally:
            if self._fetching.get(key) is arrival:
                del self._fetching[key]

    async def stop(self) -> None:
        """Break off whatever is being brought into the cache."""
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def size_of(self, sha256: bytes) -> int | None:
        """Return how many bytes the place has; None: it does not have the file."""
        return await self._place.size_of(key_of(sha256))

    async def signed_url(self, sha256: bytes, seconds: int) -> str | None:
        """Return a URL at which anybody can read the bytes for a while; None: there is none."""
        return await self._place.signed_url(key_of(sha256), seconds)

    async def collect(self) -> None:
        """Remove what nothing has referred to for an hour. Any number of nodes may call it."""
        before_ts = self._clock.now_ms() - UNREFERENCED_MS
        while True:
            async with self._database.connection("media collect") as connection:
                condemned = await media_blobs.condemn(connection, before_ts, _COLLECT_AT_ONCE)
            for sha256 in condemned:
                async with self._database.transaction("media collect") as tx:
                    if await media_blobs.delete_condemned(tx, sha256, before_ts):
                        await self._place.delete(key_of(sha256))
                await self._cache.remove(key_of(sha256))
            if len(condemned) < _COLLECT_AT_ONCE:
                return


_UNLIMITED: Final = 2**63


def key_of(sha256: bytes) -> str:
    """Return under which key a place has the bytes: `sha256/ab/cd/abcd…`."""
    name = sha256.hex()
    return f"sha256/{name[:2]}/{name[2:4]}/{name}"


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name; False: it is gone, or is on another file system."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
