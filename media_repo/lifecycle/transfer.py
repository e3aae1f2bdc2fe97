"""Going through all bytes of a store: to check them, or to carry them to another.

A server may run meanwhile: what comes later is found by doing it again.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import TooLarge
from homeserver.storage import media_blobs
from homeserver.storage.database import Database
from homeserver.storage.media_blobs import BlobRow
from media_repo.places import Place
from media_repo.spool import Spool
from media_repo.store import key_of

# Told after each file, with its size in bytes.
Progress: TypeAlias = Callable[[int], None]

_PAGE: Final = 500


class Damage(msgspec.Struct, frozen=True):
    """A file that is not as it should be; `reason` is for people."""

    sha256: str
    reason: str


async def totals(database: Database) -> tuple[int, int]:
    """Return how many files the store should have, and how many bytes they are."""
    async with database.connection("media totals") as connection:
        return await media_blobs.totals(connection)


async def verify(database: Database, place: Place, progress: Progress) -> AsyncIterator[Damage]:
    """Read every file and yield those that are missing or whose bytes are others.

    Raises PlaceUnavailable: the place cannot be reached.
    """
    async for blob in _blobs(database):
        reason = await _damage_of(place, blob)
        # It may have been removed since, as nothing needed it any more.
        if reason is not None and await _is_still_wanted(database, blob):
            yield Damage(blob.sha256.hex(), reason)
        progress(blob.byte_count)


async def copy(
    database: Database, source: Place, target: Place, spool: Spool, progress: Progress
) -> AsyncIterator[Damage]:
    """Copy what the target does not have; yield what cannot be copied, as it is damaged.

    `spool` is on the file system of the target, if that is a folder. Raises PlaceUnavailable,
    OSError.
    """
    async for blob in _blobs(database):
        key = key_of(blob.sha256)
        if await target.size_of(key) != blob.byte_count:
            reason = await _copy(blob, source, target, spool)
            if reason is not None and await _is_still_wanted(database, blob):
                yield Damage(blob.sha256.hex(), reason)
        progress(blob.byte_count)


async def remove_copied(
    database: Database, source: Place, target: Place, progress: Progress
) -> AsyncIterator[Damage]:
    """Remove from the source what the target has; yield what it does not have."""
    async for blob in _blobs(database):
        key = key_of(blob.sha256)
        if await target.size_of(key) == blob.byte_count:
            await source.delete(key)
        elif await _is_still_wanted(database, blob):
            yield Damage(blob.sha256.hex(), "has not been copied")
        progress(blob.byte_count)


async def is_same_place(source: Place, target: Place, spool: Spool) -> bool:
    """Whether what is put into one place is found in the other, whatever their names are."""
    path = spool.new_path()
    key = f"probe/{path.name}"
    await asyncio.to_thread(path.write_bytes, b"probe")
    try:
        await target.put(key, path, len(b"probe"))
        return await source.size_of(key) is not None
    finally:
        await target.delete(key)
        await spool.discard(path)


async def _blobs(database: Database) -> AsyncGenerator[BlobRow, None]:
    after = b""
    while True:
        async with database.connection("media page") as connection:
            page = await media_blobs.page(connection, after, _PAGE)
        for blob in page:
            yield blob
        if len(page) < _PAGE:
            return
        after = page[-1].sha256


async def _damage_of(place: Place, blob: BlobRow) -> str | None:
    digest, read = hashlib.sha256(), 0
    try:
        async for piece in place.read(key_of(blob.sha256), 0, None):
            await asyncio.to_thread(digest.update, piece)
            read += len(piece)
    except FileNotFoundError:
        return "is missing"
    return _difference(blob, digest.digest(), read)


async def _copy(blob: BlobRow, source: Place, target: Place, spool: Spool) -> str | None:
    key = key_of(blob.sha256)
    try:
        file = await spool.receive(source.read(key, 0, None), blob.byte_count)
    except FileNotFoundError:
        return "is missing"
    except TooLarge:
        return f"has more than {blob.byte_count} bytes"
    try:
        difference = _difference(blob, file.sha256, file.byte_count)
        if difference is None:
            await target.put(key, file.path, file.byte_count)
        return difference
    finally:
        await spool.discard(file.path)


def _difference(blob: BlobRow, sha256: bytes, byte_count: int) -> str | None:
    if byte_count != blob.byte_count:
        return f"has {byte_count} bytes instead of {blob.byte_count}"
    return None if sha256 == blob.sha256 else "has other bytes"


async def _is_still_wanted(database: Database, blob: BlobRow) -> bool:
    async with database.connection("media page") as connection:
        return await media_blobs.is_stored(connection, blob.sha256)
