"""Where the files of the store are: a folder, or a bucket.

A key such as `sha256/ab/cd/abcd…` always stands for the same bytes. A file is there whole or not
at all: in a folder it is renamed into place, a bucket shows an object when it is complete.
"""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Protocol

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from homeserver.errors import MatrixError
from homeserver.telemetry.log import get_logger
from media_repo.file_reading import PIECE_BYTES, read_file

log = get_logger(__name__)

# What one upload to a bucket may hold in memory: a part of this size for each at once. Services
# take at most 10,000 parts.
_PART_BYTES: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 3


class PlaceUnavailable(MatrixError):
    """The place cannot be reached or refuses us; later it may work."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, "M_UNKNOWN", "The media store is out of reach, try again")
        self.reason = reason


class Place(Protocol):
    """Keeps files by key. Everything but `local_path` raises PlaceUnavailable, OSError."""

    def local_path(self, key: str) -> Path | None:
        """Return where the file is, or would be; None: not on this machine."""
        ...

    async def put(self, key: str, path: Path, byte_count: int) -> bool:
        """Take a file that is on the disk; returns whether it stays at `path` too."""
        ...

    def read(self, key: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to but not with `end`, which is within the file.

        Raises FileNotFoundError.
        """
        ...

    async def size_of(self, key: str) -> int | None:
        """Return how many bytes are there; None: there is no such file."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a file; it may be gone."""
        ...

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """Return a URL by which anybody can read the file for a while; None: there is none."""
        ...


class FolderPlace:
    """A folder of this machine, or one that all machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def local_path(self, key: str) -> Path:
        """Return where the file is, or would be."""
        return self._folder / key

    async def put(self, key: str, path: Path, byte_count: int) -> bool:
        """Move a file, which must be on the same file system, to its place."""
        await asyncio.to_thread(_place_durably, path, self.local_path(key))
        return False

    def read(self, key: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Yield bytes of a file. Raises FileNotFoundError."""
        return read_file(self.local_path(key), start, end)

    async def size_of(self, key: str) -> int | None:
        """Return the size of a file; None: there is none."""
        try:
            return (await asyncio.to_thread(self.local_path(key).stat)).st_size
        except FileNotFoundError:
            return None

    async def delete(self, key: str) -> None:
        """Remove a file; it may be gone."""
        await asyncio.to_thread(self.local_path(key).unlink, missing_ok=True)

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """A folder has no URLs."""
        return None


class BucketPlace:
    """A bucket of an object store, with a prefix or without."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def local_path(self, key: str) -> None:
        """Nothing of it is on this machine."""

    async def put(self, key: str, path: Path, byte_count: int) -> bool:
        """Send a file, in parts when it is large; the object appears when all are there."""
        if await self.size_of(key) == byte_count:
            return True
        try:
            await obstore.put_async(
                self._store,
                key,
                path,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except BaseError as error:
            raise _unavailable(error) from error
        return True

    async def read(self, key: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Yield bytes of an object. Raises FileNotFoundError, PlaceUnavailable."""
        if start == end:
            return
        try:
            if start == 0 and end is None:
                found = await obstore.get_async(self._store, key)
            else:
                wanted: Any = {"offset": start} if end is None else (start, end)
                found = await obstore.get_async(self._store, key, options={"range": wanted})
            async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(key) from error
        except BaseError as error:
            raise _unavailable(error) from error

    async def size_of(self, key: str) -> int | None:
        """Return the size of an object; None: there is none."""
        try:
            return (await obstore.head_async(self._store, key))["size"]
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            raise _unavailable(error) from error

    async def delete(self, key: str) -> None:
        """Remove an object; it may be gone."""
        try:
            await obstore.delete_async(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise _unavailable(error) from error

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """Return a URL that the object store answers without credentials."""
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        lifetime = dt.timedelta(seconds=seconds)
        try:
            return await obstore.sign_async(self._store, "GET", key, lifetime)
        except BaseError as error:
            raise _unavailable(error) from error


def _unavailable(error: BaseError) -> PlaceUnavailable:
    # The first line says what went wrong; the rest repeats the request, keys included.
    reason = str(error).split("\n", 1)[0][:300]
    log.error("media store out of reach", reason=reason)
    return PlaceUnavailable(reason)


def _place_durably(source: Path, target: Path) -> None:
    """Move a file that the disk keeps, and have the disk keep where it is.

    Whatever is there already is the same, or was not written to its end.
    """
    folders = [target.parent]
    try:
        source.replace(target)
    except FileNotFoundError:
        folders += _make_folder(target.parent)
        source.replace(target)
    for folder in folders:
        _sync_folder(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing; return in which folders they are."""
    try:
        folder.mkdir(mode=0o750, exist_ok=True)
    except FileNotFoundError:
        above = _make_folder(folder.parent)
        folder.mkdir(mode=0o750, exist_ok=True)
        return [folder.parent, *above]
    return [folder.parent]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
