"""Thumbnails, put together."""

import shutil
from typing import Final

from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.run.foundation import Foundation
from media_repo.library import Library
from media_repo.store import MediaStore
from media_repo.thumbnails.job import Limits
from media_repo.thumbnails.sizes import WantedSize
from media_repo.thumbnails.thumbnails import ReadyMade, Thumbnails, ThumbnailSettings
from media_repo.thumbnails.workers import ThumbnailWorkers

_IDLE_CHECK_SECONDS: Final = 30.0


def thumbnail_workers(base: Foundation) -> ThumbnailWorkers:
    """Return the processes that make thumbnails; none is started yet. `stop` must follow."""
    settings = base.config.thumbnails
    limits = Limits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        memory_bytes=settings.worker_memory_bytes,
        cpu_seconds=settings.worker_seconds,
        jpeg_quality=settings.jpeg_quality,
        ffmpeg=_ffmpeg_of(settings),
    )
    workers = ThumbnailWorkers(
        limits, count=settings.workers, max_waiting=settings.max_waiting, clock=base.clock
    )
    base.tasks.every("thumbnail workers", _IDLE_CHECK_SECONDS, workers.end_idle)
    return workers


def thumbnails_of(
    base: Foundation, library: Library, store: MediaStore, workers: ThumbnailWorkers
) -> Thumbnails:
    """Return what finds thumbnails and has them made."""
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


def ready_made(base: Foundation, thumbnails: Thumbnails) -> ReadyMade:
    """Return the watcher that has thumbnails made of whatever comes."""
    return ReadyMade(thumbnails, _sizes_of(base.config.thumbnails), base.tasks)


def _sizes_of(settings: ThumbnailsSection) -> list[WantedSize]:
    return [WantedSize(size.width, size.height, size.method) for size in settings.sizes]


def _ffmpeg_of(settings: ThumbnailsSection) -> str | None:
    if not settings.videos:
        return None
    if settings.ffmpeg is not None:
        return str(settings.ffmpeg)
    return shutil.which("ffmpeg")
