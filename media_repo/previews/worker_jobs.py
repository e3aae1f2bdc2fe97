"""What is asked of the process that reads pages and images, and what it answers."""

import struct
from typing import Final, TypeAlias

import msgspec

from media_repo.previews.page import PageFacts
from media_repo.previews.pictures import Picture

# Before every message: how many bytes it has.
LENGTH: Final = struct.Struct(">I")
# The process ends itself when a job takes longer, however deep it is in a parser.
JOB_SECONDS: Final = 3.0
MAX_MEMORY_BYTES: Final = 1024 * 1024 * 1024


class ReadPage(msgspec.Struct, frozen=True, tag="page"):
    """Read a page."""

    raw: bytes
    charset: str | None


class ReadPicture(msgspec.Struct, frozen=True, tag="picture"):
    """Look at the image in a file."""

    path: str


Job: TypeAlias = ReadPage | ReadPicture


class JobAnswer(msgspec.Struct, frozen=True):
    """One of the two, or neither: there is nothing to tell."""

    page: PageFacts | None = None
    picture: Picture | None = None
