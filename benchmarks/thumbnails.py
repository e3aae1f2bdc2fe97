"""Thumbnails of 12-megapixel photos: rate, computing time and memory of the processes.

python -m benchmarks.thumbnails [--photos 40] [--runs 5] [--workers 2]

The five sizes of the specification are made of each photo, then only the one that clients show in
a timeline.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.support.report import say
from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.telemetry.clock import SystemClock
from media_repo.thumbnails.job import Limits
from media_repo.thumbnails.sizes import WantedSize
from media_repo.thumbnails.workers import ThumbnailWorkers

PHOTO_SIZE = (4000, 3000)
_MB = 1024 * 1024
_TIMELINE = [WantedSize(800, 600, "scale")]


def photo(path: Path, kind: str) -> None:
    """Write a picture with the detail of a photo: about 3 MB as JPEG."""
    noise = Image.effect_noise((500, 375), 60).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
    flip = Image.Transpose
    channels = (noise, noise.transpose(flip.FLIP_LEFT_RIGHT), noise.transpose(flip.ROTATE_180))
    Image.merge("RGB", channels).save(path, kind, quality=88)


def cpu_ms_of(pids: Sequence[int]) -> float:
    """Return the computing time of processes so far; it is counted in steps of 10 ms."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def peak_mb_of(pid: int) -> float:
    """Return the largest resident size that a process has had."""
    facts = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(facts["VmHWM"].split()[0]) * 1024 / _MB


async def measure(
    workers: ThumbnailWorkers, path: Path, sizes: list[WantedSize], photos: int, runs: int
) -> tuple[list[float], list[float]]:
    """Return photos per second and milliseconds of computing for one, of each run."""
    rates, computing = [], []
    for run in range(runs + 1):
        before, began = cpu_ms_of(workers.pids), time.perf_counter()
        await asyncio.gather(*(workers.make(path, sizes) for _ in range(photos)))
        # The first run starts the processes.
        if run:
            rates.append(photos / (time.perf_counter() - began))
            computing.append((cpu_ms_of(workers.pids) - before) / photos)
    return rates, computing


async def main(photos: int, runs: int, count: int, folder: Path) -> None:
    """Measure everything and print it."""
    settings = ThumbnailsSection()
    limits = Limits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        memory_bytes=settings.worker_memory_bytes,
        cpu_seconds=settings.worker_seconds,
        jpeg_quality=settings.jpeg_quality,
        ffmpeg=None,
    )
    five = [WantedSize(size.width, size.height, size.method) for size in settings.sizes]
    workers = ThumbnailWorkers(limits, count=count, max_waiting=photos, clock=SystemClock())
    try:
        for kind, budget in (("JPEG", "60 ms"), ("PNG", "")):
            path = folder / f"photo.{kind.lower()}"
            photo(path, kind)
            print(f"12-megapixel {kind}, {path.stat().st_size / _MB:.1f} MB, {count} processes")
            for name, sizes in (("5 thumbnails", five), ("800x600", _TIMELINE)):
                rates, computing = await measure(workers, path, sizes, photos, runs)
                say(f"{name}: photos per second", "", rates)
                say(f"{name}: CPU for a photo", "ms", computing, budget)
            peaks = [peak_mb_of(pid) for pid in workers.pids]
            say("peak memory of a process, so far", "MB", peaks)
    finally:
        await workers.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(main(chosen.photos, chosen.runs, chosen.workers, Path(made)))
