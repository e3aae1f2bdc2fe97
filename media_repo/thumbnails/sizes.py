"""The sizes of thumbnails, as numbers. Spec: client-server-api/#thumbnails"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

Method: TypeAlias = Literal["scale", "crop"]

# The longest side that JPEG can have; asking for more asks for the original.
MAX_SIDE: Final = 65_535


class WantedSize(msgspec.Struct, frozen=True, order=True):
    """A thumbnail to make: the least width and height, and how to get there.

    `is_animated` is a wish: what does not move, or is too long, becomes a still picture.
    """

    width: int
    height: int
    method: Method
    is_animated: bool = False


class Fit(msgspec.Struct, frozen=True):
    """How a picture becomes a thumbnail: its middle `part` is shrunk to width and height.

    `part` is the width and height of that piece in pixels of the picture.
    """

    width: int
    height: int
    part: tuple[float, float]

    @property
    def shrinking(self) -> float:
        """How many times longer a line of the picture is than one of the thumbnail; >= 1."""
        return min(self.part[0] / self.width, self.part[1] / self.height)

    def turned(self) -> "Fit":
        """Return the same for a picture that lies on its side."""
        return Fit(self.height, self.width, (self.part[1], self.part[0]))


def fit(wanted: WantedSize, width: int, height: int) -> Fit | None:
    """Return how a picture of a width and height is to be shrunk; None: it is small enough.

    Both sides of the thumbnail are at least what was asked for, as far as the picture reaches:
    nothing is ever enlarged. A crop has the aspect that was asked for even if it is smaller.
    Spec: "Servers must never return thumbnails smaller than the client's requested dimensions,
    unless the content being thumbnailed is smaller than the dimensions." By that rule the sides of
    `scale` cover the requested rectangle; the soft sentence before it, which has one side smaller,
    cannot hold together with it.
    """
    if wanted.method == "crop":
        return _crop(wanted, width, height)
    if wanted.width >= width or wanted.height >= height:
        return None
    if width * wanted.height >= height * wanted.width:
        # Rounded up: half a pixel less would be smaller than requested.
        return Fit(-(-width * wanted.height // height), wanted.height, (width, height))
    return Fit(wanted.width, -(-height * wanted.width // width), (width, height))


def _crop(wanted: WantedSize, width: int, height: int) -> Fit | None:
    if wanted.width >= width and wanted.height >= height:
        return None
    smaller = min(1.0, width / wanted.width, height / wanted.height)
    target = max(1, round(wanted.width * smaller)), max(1, round(wanted.height * smaller))
    if target == (width, height):
        return None
    if width * target[1] > height * target[0]:
        return Fit(*target, (height * target[0] / target[1], height))
    return Fit(*target, (width, width * target[1] / target[0]))


def choose_fixed(wanted: WantedSize, fixed: Iterable[WantedSize]) -> WantedSize:
    """Return the smallest of the fixed sizes that is large enough.

    For a crop one of the same aspect, else a scaled one; when none is large enough, a size that
    leaves the picture as large as it is.
    """
    enough = [size for size in fixed if _is_enough(size, wanted)]
    alike = [size for size in enough if size.method == wanted.method]
    scaled = [size for size in enough if size.method == "scale"]
    largest = WantedSize(MAX_SIDE, MAX_SIDE, "scale")
    chosen = min(alike or scaled, key=lambda size: size.width * size.height, default=largest)
    return msgspec.structs.replace(chosen, is_animated=wanted.is_animated)


def _is_enough(size: WantedSize, wanted: WantedSize) -> bool:
    if size.width < wanted.width or size.height < wanted.height:
        return False
    return size.method == "scale" or size.width * wanted.height == size.height * wanted.width
