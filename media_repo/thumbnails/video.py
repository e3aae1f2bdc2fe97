"""One picture out of a video, by ffmpeg in a process of its own."""

import subprocess
from pathlib import Path
from typing import Final

from media_repo.thumbnails.job import Limits, Refused

# Where the first bytes say "video": offset, bytes, and the only parser that ffmpeg may use. Its
# guess would include playlists, which lead it to files and addresses that others choose.
_SIGNATURES: Final = (
    (4, b"ftyp", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
)
# Containers of the same kind as MP4 in which there are pictures.
_STILL_BRANDS: Final = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"})
_HEAD_BYTES: Final = 16
_SECONDS: Final = 15
_MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024


def poster(path: Path, limits: Limits) -> bytes:
    """Return the first picture of a video that is not one color, or nearly, as PNG.

    Raises Refused: no video, no ffmpeg, or none that ffmpeg can read.
    """
    with path.open("rb") as file:
        parser = _parser_of(file.read(_HEAD_BYTES))
    if parser is None or limits.ffmpeg is None:
        raise Refused("unknown kind")
    try:
        ended = subprocess.run(  # noqa: S603 - the program is configured, the path is ours
            _command(limits, parser, path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise Refused("broken") from None
    if ended.returncode != 0 or not 0 < len(ended.stdout) <= _MAX_PICTURE_BYTES:
        raise Refused("broken")
    return ended.stdout


def _parser_of(head: bytes) -> str | None:
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return None
    for offset, signature, parser in _SIGNATURES:
        if head[offset:].startswith(signature):
            return parser
    return None


def _command(limits: Limits, parser: str, path: Path) -> list[str]:
    assert limits.ffmpeg is not None
    return [
        limits.ffmpeg,
        *("-nostdin", "-loglevel", "quiet", "-threads", "1"),
        *("-protocol_whitelist", "file", "-max_pixels", str(limits.max_pixels)),
        *("-f", parser, "-i", f"file:{path}"),
        # The picture that stands best for the first seconds, not the black one they begin with.
        *("-an", "-sn", "-dn", "-vf", "thumbnail=n=48", "-frames:v", "1"),
        *("-f", "image2pipe", "-c:v", "png", "pipe:1"),
    ]
