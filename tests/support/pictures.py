"""Pictures for tests, and reading those that come back."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def quarters(width: int, height: int) -> Image.Image:
    """Return a picture whose four corners are red, green, blue and yellow, as one reads."""
    corners = Image.new("RGB", (2, 2))
    corners.putdata([RED, GREEN, BLUE, YELLOW])
    return corners.resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def animation(kind: str, width: int, height: int, frames: int, **options: Any) -> bytes:
    """Return a file of frames that all differ."""
    # Neighbors differ so much that no encoder takes them for the same.
    made = [Image.new("RGB", (width, height), (i * 97 % 256, i % 256, 0)) for i in range(frames)]
    return encoded(made[0], kind, save_all=True, append_images=made[1:], duration=40, **options)


def decoded(content: bytes) -> Any:
    """Read a picture to its end; formats have members of their own."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def corner_names(image: Image.Image) -> list[str]:
    """Return which colors the corners have, as one reads."""
    rgb = image.convert("RGB")
    right, bottom = rgb.width - 1, rgb.height - 1
    names = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
    return [
        min(names, key=lambda name: _distance(rgb.getpixel(place), names[name]))
        for place in ((0, 0), (right, 0), (0, bottom), (right, bottom))
    ]


def png_claiming(width: int, height: int) -> bytes:
    """Return a short PNG whose header says that it is large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND"))
    )


def gif_of_many_frames(frames: int) -> bytes:
    """Return a GIF of one pixel that has any number of frames."""
    start = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return start + frame * frames + b";"


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _distance(one: Any, other: tuple[int, int, int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
