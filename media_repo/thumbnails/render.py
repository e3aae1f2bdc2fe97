"""Thumbnails of one picture, several of them from one decoding."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from PIL import Image

from media_repo.thumbnails.encode import moving, plain, still, to_srgb
from media_repo.thumbnails.job import Limits, Made, Refused
from media_repo.thumbnails.picture import CONTENT_TYPES, Picture
from media_repo.thumbnails.sizes import Fit, WantedSize, fit
from media_repo.thumbnails.video import poster

# The original is answered unless it is larger than its bare pixels: what else is in there?
_ORIGINAL_BYTES_PER_PIXEL: Final = 4
_ORIGINAL_FREE_BYTES: Final = 64 * 1024
# Before the exact filter works on it, a picture may be shrunk coarsely to this many times the
# size: no eye sees it.
_COARSE_GAP: Final = 2.0
# All frames of an animation are in memory at once, 4 bytes a pixel.
_MAX_ANIMATION_PIXELS: Final = 64_000_000
# What may be decoded for it, in pixels: some seconds of work.
_MAX_DECODED_PIXELS: Final = 600_000_000

Thumbnail = tuple[Made, bytes]


class _Plan(NamedTuple):
    place: int
    # None: as large as the picture.
    fitted: Fit | None


def render(path: Path, sizes: Sequence[WantedSize], limits: Limits) -> list[Thumbnail]:
    """Make thumbnails, in the order of their sizes.

    Raises Refused, and whatever the decoders raise on broken files.
    """
    with path.open("rb") as file:
        return _of_picture(_picture_of(path, file, limits), sizes, limits)


def _picture_of(path: Path, file: BinaryIO, limits: Limits) -> Picture:
    try:
        return Picture(file, limits.max_pixels)
    except Refused as refused:
        if refused.refusal != "unknown kind":
            raise
    taken = io.BytesIO(poster(path, limits))
    return Picture(taken, limits.max_pixels, is_whole_file=False)


def _of_picture(picture: Picture, sizes: Sequence[WantedSize], limits: Limits) -> list[Thumbnail]:
    done: dict[int, Thumbnail] = {}
    stills: list[_Plan] = []
    for index, wanted in enumerate(sizes):
        fitted = fit(wanted, *picture.upright_size)
        moves = wanted.is_animated and picture.is_animated
        if fitted is None and _may_stay(picture, moves=moves):
            done[index] = _original(picture)
            continue
        animation = _animation_or_not(picture, fitted, limits) if moves else None
        if animation is None:
            stills.append(_Plan(index, fitted))
        else:
            done[index] = animation
    done.update(_stills(picture, stills, limits.jpeg_quality))
    if not stills:
        # What is passed on as it is must be a picture to its end.
        picture.image.load()
    return [done[index] for index in range(len(sizes))]


def _may_stay(picture: Picture, *, moves: bool) -> bool:
    if not picture.is_whole_file or picture.kind not in CONTENT_TYPES:
        return False
    if picture.is_animated and not moves:
        return False
    if moves and picture.kind == "GIF":
        # How many frames there are is known only when all have been read.
        return True
    frames = max(1, _announced_frames(picture)) if moves else 1
    bare = picture.size[0] * picture.size[1] * _ORIGINAL_BYTES_PER_PIXEL * frames
    return picture.file_bytes <= _ORIGINAL_FREE_BYTES + bare


def _original(picture: Picture) -> Thumbnail:
    width, height = picture.upright_size
    content_type = CONTENT_TYPES[picture.kind]
    return Made(content_type=content_type, width=width, height=height, is_original=True), b""


def _stills(picture: Picture, plans: Sequence[_Plan], jpeg_quality: int) -> dict[int, Thumbnail]:
    if not plans:
        return {}
    least = min((1.0 if plan.fitted is None else plan.fitted.shrinking) for plan in plans)
    base = plain(_decoded(picture, least))
    made = {}
    # The largest first: the others are made from what is left of it.
    for plan in sorted(plans, key=lambda plan: plan.fitted.shrinking if plan.fitted else 0.0):
        piece, base = _shrunk(picture, base, plan.fitted)
        upright = to_srgb(picture.set_upright(piece), picture.color_profile)
        content_type, content = still(upright, jpeg_quality)
        made[plan.place] = _thumbnail(content_type, content, upright)
    return made


def _decoded(picture: Picture, shrinking: float) -> Image.Image:
    image = picture.image
    if picture.is_animated:
        image.seek(0)
    width, height = picture.size
    # JPEG is decoded at a half, a quarter or an eighth when that is enough: most of the speed.
    image.draft("RGB", (max(1, int(width / shrinking)), max(1, int(height / shrinking))))
    image.load()
    return image


def _shrunk(
    picture: Picture, base: Image.Image, fitted: Fit | None
) -> tuple[Image.Image, Image.Image]:
    """Return a thumbnail as the picture lies, and what smaller ones can be made from."""
    if fitted is None:
        return base.copy(), base
    lying = fitted.turned() if picture.is_lying else fitted
    width, height = picture.size
    # The part in pixels of the base, which may be a smaller picture than the original.
    part_width = lying.part[0] * base.width / width
    part_height = lying.part[1] * base.height / height
    left, top = (base.width - part_width) / 2, (base.height - part_height) / 2
    box = (max(0.0, left), max(0.0, top), left + part_width, top + part_height)
    box = (*box[:2], min(box[2], base.width), min(box[3], base.height))
    piece = base.resize(
        (lying.width, lying.height),
        Image.Resampling.LANCZOS,
        box=box,
        reducing_gap=_COARSE_GAP,
    )
    is_whole = lying.part == (width, height)
    return piece, piece if is_whole else base


def _animation_or_not(picture: Picture, fitted: Fit | None, limits: Limits) -> Thumbnail | None:
    try:
        return _animation(picture, fitted, limits)
    except MemoryError:
        return None


def _animation(picture: Picture, fitted: Fit | None, limits: Limits) -> Thumbnail | None:
    """Return a moving thumbnail; None: it would be too much."""
    width, height = picture.size
    pixels = fitted.width * fitted.height if fitted is not None else width * height
    max_frames = min(
        limits.max_frames,
        _MAX_ANIMATION_PIXELS // pixels,
        _MAX_DECODED_PIXELS // (width * height),
    )
    if max_frames < 1 or _announced_frames(picture) > max_frames:
        return None
    frames, durations_ms = [], []
    for number in range(max_frames + 1):
        try:
            picture.image.seek(number)
        except EOFError:
            break
        if number == max_frames:
            return None
        frame = plain(picture.image)
        piece, _ = _shrunk(picture, frame, fitted)
        frames.append(to_srgb(picture.set_upright(piece), picture.color_profile))
        durations_ms.append(_duration_ms(picture.image))
    content_type, content = moving(frames, durations_ms, _loops(picture))
    return _thumbnail(content_type, content, frames[0])


def _announced_frames(picture: Picture) -> int:
    if picture.kind == "GIF":
        # It does not say; asking Pillow reads the whole file.
        return 0
    frames = getattr(picture.image, "n_frames", 0)
    return frames if isinstance(frames, int) else 0


def _duration_ms(frame: Image.Image) -> int:
    duration = frame.info.get("duration", 0)
    return int(duration) if isinstance(duration, int | float) else 0


def _loops(picture: Picture) -> int:
    # A GIF counts the repetitions after the first time, and has none when it says nothing.
    loop = picture.image.info.get("loop")
    if picture.kind != "GIF":
        return loop if isinstance(loop, int) else 0
    if loop is None:
        return 1
    return loop + 1 if loop else 0


def _thumbnail(content_type: str, content: bytes, image: Image.Image) -> Thumbnail:
    made = Made(
        content_type=content_type,
        width=image.width,
        height=image.height,
        byte_count=len(content),
    )
    return made, content
