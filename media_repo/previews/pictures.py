"""What kind of image a file is, and how large, from its first bytes; nothing is decoded."""

import warnings
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image

# What clients show; others have formats of which Pillow has slow or odd readers.
_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "ICO")
_MAX_SIDE: Final = 65_535


class Picture(msgspec.Struct, frozen=True):
    """An image: its media type and its size in pixels, as it is to be shown."""

    content_type: str
    width: int
    height: int


def measure(path: Path) -> Picture | None:
    """Look at a file; None: it is no image that clients show."""
    try:
        # Here nobody decodes it, so the number of pixels does no harm.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                content_type = Image.MIME.get(image.format or "")
                if image.getexif().get(_ORIENTATION, 1) >= _FIRST_TURNED:
                    width, height = height, width
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, EOFError,
            OverflowError, MemoryError, Image.DecompressionBombError):  # fmt: skip
        return None
    if content_type is None or not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        return None
    return Picture(content_type, width, height)


# The EXIF tag, and the values from which on the camera was held upright.
_ORIENTATION: Final = 0x0112
_FIRST_TURNED: Final = 5
