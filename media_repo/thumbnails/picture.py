"""Opening pictures: what they are and how large, before anything of them is decoded."""

import io
import warnings
from typing import BinaryIO, Final

from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from media_repo.thumbnails.job import Refused

# Parsers of everything else are never asked.
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
# What may be answered as it is. AVIF is not among the types of a thumbnail in the specification.
CONTENT_TYPES: Final = {
    "JPEG": "image/jpeg",
    # A photo with more pictures behind it, such as a depth map, which nobody is shown.
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT_BY: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_LYING: Final = 5


def limit_pixels(max_pixels: int) -> None:
    """Have every parser refuse pictures, and frames that grow them, of more pixels."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    # One worker is one core; its threads would count against its memory.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class Picture:
    """A picture of which the header has been read."""

    def __init__(self, file: BinaryIO, max_pixels: int, *, is_whole_file: bool = True) -> None:
        """`is_whole_file` False: it was taken out of the file that is asked for.

        Raises Refused, and whatever the parsers raise on broken files.
        """
        self.file_bytes: Final = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.is_whole_file: Final = is_whole_file
        self.image: Final = _open(file)
        # As it is stored; the size of `image` may become smaller while it is decoded.
        self.size: Final = self.image.size
        width, height = self.size
        if width * height > max_pixels:
            raise Refused("too large")
        if width < 1 or height < 1:
            raise Refused("broken")
        self.kind: Final = self.image.format or ""
        self._orientation = _orientation_of(self.image)

    @property
    def is_animated(self) -> bool:
        """Whether it has more than one frame."""
        return self.kind != "MPO" and bool(getattr(self.image, "is_animated", False))

    @property
    def is_lying(self) -> bool:
        """Whether width and height change places when it is set upright."""
        return self._orientation >= _FIRST_LYING

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as people see it."""
        width, height = self.size
        return (height, width) if self.is_lying else (width, height)

    @property
    def color_profile(self) -> bytes | None:
        """The ICC profile of its colors."""
        profile = self.image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) and profile else None

    def set_upright(self, piece: Image.Image) -> Image.Image:
        """Turn and mirror a piece of it as its orientation says."""
        by = _UPRIGHT_BY.get(self._orientation)
        return piece if by is None else piece.transpose(by)


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise Refused("unknown kind") from None


def _orientation_of(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT_BY else 1
