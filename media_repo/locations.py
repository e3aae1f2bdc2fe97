"""Where a picture says where it was taken, and what to write there instead.

Nothing moves and nothing changes its length, so that the picture stays as it is to the bit:
bytes of the place become zeros, or spaces in XMP. JPEG, PNG, WebP, AVIF and HEIF are understood.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

_Bytes: TypeAlias = mmap | bytes

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_BRANDS: Final = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"})
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"exif:GPS"
_XMP_PLACE: Final = re.compile(
    rb"exif:GPS(\w{1,40})(?:\s*=\s*(?:\"[^\"<]{0,400}\"|'[^'<]{0,400}')"
    rb"|[^>]{0,200}>[^<]{0,400}</exif:GPS\1\s*>)"
)
_MAX_XMP_BYTES: Final = 1200
# Exif in JPEG has at most 64 KiB, in other files a little more when a preview is in it.
_MAX_EXIF_BYTES: Final = 1024 * 1024
_MAX_PNG_CHUNK: Final = 16 * 1024 * 1024
# No camera writes more; who does is not worth the time.
_MAX_BLOCKS: Final = 64
_MAX_CHUNKS: Final = 100_000
# Between two searches of this size other threads get their turn.
_WINDOW: Final = 1024 * 1024

_GPS_POINTER: Final = 0x8825
_ENTRY_BYTES: Final = 12
# The picture, its preview, and what may follow.
_MAX_FOLDERS: Final = 4
_MAX_ENTRIES: Final = 512
# Bytes of one value of each type of TIFF.
_TYPE_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
# As much as a GPS value has at most: the name of a method, of an area.
_MAX_VALUE_BYTES: Final = 4096


class Patch(NamedTuple):
    """Bytes to write over what is in a file."""

    offset: int
    content: bytes


def location_patches(file: _Bytes) -> list[Patch]:
    """Return what removes the place from a picture, in the order in which to write it."""
    if file[:3] == _JPEG or (file[4:8] == b"ftyp" and file[8:12] in _BRANDS):
        return [*_after_each_exif(file), *_in_xmp(file, 0, len(file))]
    if file[:8] == _PNG:
        return list(_in_png(file))
    if file[:4] == b"RIFF" and file[8:12] == b"WEBP":
        return [*_in_webp(file), *_in_xmp(file, 0, len(file))]
    return []


def _find_some(file: _Bytes, needle: bytes, start: int, end: int) -> Iterator[int]:
    return islice(_find_all(file, needle, start, end), _MAX_BLOCKS)


def _find_all(file: _Bytes, needle: bytes, start: int, end: int) -> Iterator[int]:
    for window in range(start, end, _WINDOW):
        until = min(end, window + _WINDOW + len(needle) - 1)
        found = file.find(needle, window, until)
        while found >= 0:
            yield found
            found = file.find(needle, found + len(needle), until)


def _after_each_exif(file: _Bytes) -> Iterator[Patch]:
    # Files of several pictures have it several times. That these six bytes and what must follow
    # stand somewhere else by chance does not happen.
    for found in _find_some(file, _EXIF, 0, len(file)):
        yield from _in_exif(file, found + len(_EXIF))


def _in_webp(file: _Bytes) -> Iterator[Patch]:
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(file):
            return
        length = int.from_bytes(file[position + 4 : position + 8], "little")
        if file[position : position + 4] == b"EXIF":
            start = position + 8
            has_prefix = file[start : start + len(_EXIF)] == _EXIF
            yield from _in_exif(file, start + len(_EXIF) if has_prefix else start)
        position += 8 + length + length % 2


def _in_png(file: _Bytes) -> Iterator[Patch]:
    position = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(file):
            return
        length = int.from_bytes(file[position : position + 4], "big")
        kind = file[position + 4 : position + 8]
        start, end = position + 8, position + 8 + length
        if end + 4 > len(file):
            return
        if kind in (b"eXIf", b"iTXt", b"tEXt") and length <= _MAX_PNG_CHUNK:
            inside = file[start:end]
            patches = _in_exif(inside, 0) if kind == b"eXIf" else _in_xmp(inside, 0, length)
            changed = _patched(inside, list(patches))
            if changed != inside:
                checksum = zlib.crc32(changed, zlib.crc32(kind))
                yield Patch(start, changed + checksum.to_bytes(4, "big"))
        position = end + 4


def _patched(content: bytes, patches: list[Patch]) -> bytes:
    changed = bytearray(content)
    for offset, written in patches:
        changed[offset : offset + len(written)] = written
    return bytes(changed)


def _in_xmp(file: _Bytes, start: int, end: int) -> Iterator[Patch]:
    for found in _find_some(file, _XMP, start, end):
        place = _XMP_PLACE.match(file[found : found + _MAX_XMP_BYTES])
        if place is None:
            continue
        is_element = file[found - 1 : found] == b"<"
        before = 1 if is_element else 0
        yield Patch(found - before, b" " * (before + place.end()))


def _in_exif(file: _Bytes, start: int) -> Iterator[Patch]:
    """Yield the patches of one block of TIFF, whose offsets count from its start."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(file[start : start + 4])
    if order is None or start + 8 > len(file):
        return
    block = file[start : start + _MAX_EXIF_BYTES]
    (folder,) = struct.unpack_from(f"{order}I", block, 4)
    for _ in range(_MAX_FOLDERS):
        entries = _entries(block, order, folder)
        if entries is None:
            return
        pointers = [entry for entry in entries if entry[0] == _GPS_POINTER]
        for _, _, _, place in pointers:
            for offset, zeros in _gps(block, order, place):
                yield Patch(start + offset, zeros)
        if pointers:
            yield Patch(start + folder, _without_pointers(block, order, folder, len(entries)))
        following = folder + 2 + _ENTRY_BYTES * len(entries)
        (folder,) = struct.unpack_from(f"{order}I", block, following)
        if folder == 0:
            return


_Entry: TypeAlias = tuple[int, int, int, int]


def _entries(block: bytes, order: str, folder: int) -> list[_Entry] | None:
    """Return tag, type, count and value of each entry of a folder; None: it is not whole."""
    if folder + 2 > len(block):
        return None
    (count,) = struct.unpack_from(f"{order}H", block, folder)
    if count > _MAX_ENTRIES or folder + 2 + _ENTRY_BYTES * count + 4 > len(block):
        return None
    return [
        struct.unpack_from(f"{order}HHII", block, folder + 2 + _ENTRY_BYTES * index)
        for index in range(count)
    ]


def _gps(block: bytes, order: str, folder: int) -> Iterator[Patch]:
    entries = _entries(block, order, folder)
    if entries is None:
        return
    for _, kind, count, value in entries:
        byte_count = _TYPE_BYTES.get(kind, 0) * count
        if 4 < byte_count <= _MAX_VALUE_BYTES and value + byte_count <= len(block):
            yield Patch(value, bytes(byte_count))
    yield Patch(folder, bytes(2 + _ENTRY_BYTES * len(entries) + 4))


def _without_pointers(block: bytes, order: str, folder: int, count: int) -> bytes:
    first = folder + 2
    whole = [block[first + _ENTRY_BYTES * n : first + _ENTRY_BYTES * (n + 1)] for n in range(count)]
    kept = [entry for entry in whole if struct.unpack_from(f"{order}H", entry)[0] != _GPS_POINTER]
    after = first + _ENTRY_BYTES * count
    written = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + block[after : after + 4]
    return written.ljust(2 + _ENTRY_BYTES * count + 4, b"\0")
