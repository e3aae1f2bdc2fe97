"""What a node and its thumbnail workers say to each other, as lines of JSON."""

from typing import Literal, TypeAlias

import msgspec

from media_repo.thumbnails.sizes import WantedSize

Refusal: TypeAlias = Literal["too large", "unknown kind", "broken"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker may use, and how it works; told once, when it starts."""

    max_pixels: int
    max_frames: int
    memory_bytes: int
    cpu_seconds: int
    # Between 1 and 95.
    jpeg_quality: int
    # The program that takes a picture out of a video; None: none is here.
    ffmpeg: str | None


class Job(msgspec.Struct, frozen=True):
    """A file and the thumbnails to make of it."""

    path: str
    sizes: list[WantedSize]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One thumbnail; `is_original` means that the file itself serves as such."""

    content_type: str
    width: int
    height: int
    is_original: bool = False
    # How many bytes of it follow the answer; none for the original.
    byte_count: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What became of a job: as many thumbnails as sizes, or a refusal."""

    made: list[Made] = []
    refusal: Refusal | None = None


class Refused(Exception):
    """There is no thumbnail of a file, and there never will be."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal: Refusal = refusal
