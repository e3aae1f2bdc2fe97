"""Removing from uploaded pictures where they were taken, if the operator wishes so."""

import asyncio
import mmap
import shutil
from pathlib import Path

from media_repo.locations import Patch, location_patches


class LocationRemoval:
    """The step before uploads are kept that blanks places; everything else stays to the bit."""

    async def rewrite(self, path: Path, content_type: str, target: Path) -> bool:
        """Write the picture without its place; False: it names none, or is no picture.

        The declared type does not count, only the bytes.
        """
        return await asyncio.to_thread(_rewrite, path, target)


def _rewrite(path: Path, target: Path) -> bool:
    patches = _patches_of(path)
    if not patches:
        return False
    shutil.copyfile(path, target)
    with target.open("r+b") as file:
        for patch in patches:
            file.seek(patch.offset)
            file.write(patch.content)
    return True


def _patches_of(path: Path) -> list[Patch]:
    if path.stat().st_size == 0:
        # Nothing cannot be mapped.
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return location_patches(mapped)
