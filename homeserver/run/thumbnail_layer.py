"""Thumbnails, put together."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Final

from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.run.foundation import Foundation
from media_repo.library import Library
from media_repo.steps import ManyWatchers
from media_repo.store import MediaStore
from media_repo.thumbnails.job import Limits
from media_repo.thumbnails.sizes import WantedSize
from media_repo.thumbnails.thumbnails import ReadyMade, Thumbnails, ThumbnailSettings
from media_repo.thumbnails.workers import ThumbnailWorkers

_IDLE_CHECK_SECONDS: Final = 30.0


@contextlib.asynccontextmanager
async def thumbnail_layer(
    base: Foundation, library: Library, store: MediaStore, watchers: ManyWatchers
) -> AsyncIterator[Thumbnails]:
    """Make what finds thumbnails; its processes end with the block."""
    settings = base.config.thumbnails
    workers = _workers(base)
    base.tasks.every("thumbnail workers", _IDLE_CHECK_SECONDS, workers.end_idle)
    thumbnails = _thumbnails(base, library, store, workers)
    if settings.at_upload:
        watchers.add(ReadyMade(thumbnails, _sizes_of(settings), base.tasks))
    try:
        yield thumbnails
    finally:
        await thumbnails.stop()
        await workers.stop()


def _workers(base: Foundation) -> ThumbnailWorkers:
    settings = base.config.thumbnails
    limits = Limits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        memory_bytes=settings.worker_memory_bytes,
        cpu_seconds=settings.worker_seconds,
        jpeg_quality=settings.jpeg_quality,
        ffmpeg=_ffmpeg_of(settings),
    )
    return ThumbnailWorkers(
        limits, count=settings.workers, max_waiting=settings.max_waiting, clock=base.clock
    )


def _thumbnails(
    base: Foundation, library: Library, store: MediaStore, workers: ThumbnailWorkers
) -> Thumbnails:
    settings = base.config.thumbnails
    return Thumbnails(
        library,
        store=store,
        workers=workers,
        database=base.database,
        tasks=base.tasks,
        settings=ThumbnailSettings(
            offered=None if settings.dynamic_sizes else _sizes_of(settings),
            max_source_bytes=settings.max_source_bytes,
            has_videos=_ffmpeg_of(settings) is not None,
        ),
    )


def _sizes_of(settings: ThumbnailsSection) -> list[WantedSize]:
    return [WantedSize(size.width, size.height, size.method) for size in settings.sizes]


def _ffmpeg_of(settings: ThumbnailsSection) -> str | None:
    if not settings.videos:
        return None
    if settings.ffmpeg is not None:
        return str(settings.ffmpeg)
    return shutil.which("ffmpeg")
