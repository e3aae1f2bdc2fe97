"""Section `thumbnails`."""

from pathlib import Path
from typing import Annotated, Literal

from homeserver.config.values import Section, about

_MIB = 1024 * 1024


class ThumbnailSize(Section, frozen=True, kw_only=True):
    """A size that is offered."""

    width: Annotated[int, about("In pixels.", ge=1, le=65_535)]
    height: Annotated[int, about("In pixels.", ge=1, le=65_535)]
    method: Annotated[
        Literal["scale", "crop"], about("scale keeps the aspect, crop cuts to that of the size.")
    ] = "scale"


class ThumbnailsSection(Section, frozen=True, kw_only=True):
    """Small pictures of pictures and videos."""

    dynamic_sizes: Annotated[
        bool,
        about(
            "Whether clients get exactly the size that they ask for. false: the smallest of"
            " `sizes` that is large enough."
        ),
    ] = True
    # Spec: client-server-api/#thumbnails, "Servers SHOULD produce thumbnails with".
    sizes: Annotated[
        tuple[ThumbnailSize, ...],
        about("Sizes that are offered without dynamic_sizes, and made by at_upload."),
    ] = (
        ThumbnailSize(width=32, height=32, method="crop"),
        ThumbnailSize(width=96, height=96, method="crop"),
        ThumbnailSize(width=320, height=240, method="scale"),
        ThumbnailSize(width=640, height=480, method="scale"),
        ThumbnailSize(width=800, height=600, method="scale"),
    )
    at_upload: Annotated[
        bool,
        about(
            "Whether `sizes` are made of every picture when it comes. Most are never asked for;"
            " without, each is made when somebody asks for it first."
        ),
    ] = False
    jpeg_quality: Annotated[int, about("From 1 to 95.", ge=1, le=95)] = 82
    max_pixels: Annotated[
        int, about("Pictures with more pixels, width times height, get no thumbnail.", ge=1)
    ] = 64_000_000
    max_frames: Annotated[
        int, about("Animations with more frames get thumbnails that do not move.", ge=1)
    ] = 500
    max_source_bytes: Annotated[int, about("Larger files get no thumbnail.", ge=1)] = 200 * _MIB
    workers: Annotated[
        int, about("How many processes make thumbnails; they start when needed.", ge=1)
    ] = 2
    max_waiting: Annotated[
        int, about("How many thumbnails may wait for a process; more are refused.", ge=0)
    ] = 100
    worker_memory_bytes: Annotated[
        int,
        about(
            "How much memory a process may use. A picture takes up to 8 bytes for each pixel.",
            ge=128 * _MIB,
        ),
    ] = 768 * _MIB
    worker_seconds: Annotated[
        int, about("How long a process may compute for one picture.", ge=1)
    ] = 10
    ffmpeg: Annotated[
        Path | None,
        about("The program that finds a picture in a video. Absent: ffmpeg, if it is installed."),
    ] = None
    videos: Annotated[bool, about("Whether videos get thumbnails, if ffmpeg is there.")] = True
