"""What a file is by its first bytes: whether to trouble a worker with it."""

from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["picture", "video"]

HEAD_BYTES: Final = 16
_STARTS: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\xff\xd8\xff", "picture"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"GIF87a", "picture"),
    (b"GIF89a", "picture"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"OggS", "video"),
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis", b"mif1", b"msf1"})


def kind_of(head: bytes) -> Kind | None:
    """Return what a file may be, by its first HEAD_BYTES; the declared type does not count.

    None: nothing of which there are thumbnails. SVG and HTML are that; they are never rendered.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture"
    if head[4:8] == b"ftyp":
        return "picture" if head[8:12] in _AVIF_BRANDS else "video"
    return None
