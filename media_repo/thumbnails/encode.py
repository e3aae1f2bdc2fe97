"""Colors that every screen shows, and the bytes of thumbnails."""

import io
from typing import Final

from PIL import Image, ImageCms

_DEEP_GRAY: Final = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_OPAQUE: Final = 255
# Faster than the default by a half, for files that are a twentieth larger.
_PNG_LEVEL: Final = 4
# Small differences in size for large ones in time.
_WEBP_METHOD: Final = 0
_WEBP_QUALITY: Final = 75
# Browsers take the delay that no encoder means for this one.
_TOO_SHORT_MS: Final = 10
_USUAL_MS: Final = 100


def plain(image: Image.Image) -> Image.Image:
    """Return a picture in a mode that can be resized: L, RGB, RGBA or CMYK."""
    if image.mode in _DEEP_GRAY:
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("RGBA", "CMYK"):
        return image
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a plain picture as L, RGB or RGBA in the colors of sRGB; profiles may be broken."""
    target = "RGB" if image.mode == "CMYK" else image.mode
    if profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            wanted = ImageCms.createProfile("sRGB")
            mode = "RGB" if image.mode == "L" else target
            converted = ImageCms.profileToProfile(image, source, wanted, outputMode=mode)
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            # Colors that are a little off are better than no picture.
            pass
    return image if image.mode == target else image.convert(target)


def still(image: Image.Image, jpeg_quality: int) -> tuple[str, bytes]:
    """Return content type and bytes: PNG for what one can see through, JPEG for the rest."""
    written = io.BytesIO()
    if image.mode == "RGBA" and _is_seen_through(image):
        _bare(image).save(written, "PNG", compress_level=_PNG_LEVEL)
        return "image/png", written.getvalue()
    flat = image.convert("RGB") if image.mode == "RGBA" else image
    _bare(flat).save(written, "JPEG", quality=jpeg_quality)
    return "image/jpeg", written.getvalue()


def moving(frames: list[Image.Image], durations_ms: list[int], loops: int) -> tuple[str, bytes]:
    """Return content type and bytes of an animation; `loops` 0: for ever.

    Spec: "Servers SHOULD prefer to return `image/webp` thumbnails when supporting animation."
    """
    written = io.BytesIO()
    _bare(frames[0]).save(
        written,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=[each if each > _TOO_SHORT_MS else _USUAL_MS for each in durations_ms],
        loop=loops,
        quality=_WEBP_QUALITY,
        method=_WEBP_METHOD,
    )
    return "image/webp", written.getvalue()


def _is_seen_through(image: Image.Image) -> bool:
    lowest, _ = image.getchannel("A").getextrema()
    return isinstance(lowest, int | float) and lowest < _OPAQUE


def _bare(image: Image.Image) -> Image.Image:
    # What the source says about itself, where it was taken included, stays there.
    image.info = {}
    return image
