"""Files that are not what they seem, or too much: each is refused, and the next one is served."""

import asyncio
import os
import random
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.run.compose import RunningServer
from tests.flows.media.test_thumbnails import rows_of, thumbnails
from tests.support.client import Client, clients_of
from tests.support.media import uploads
from tests.support.pictures import (
    animation,
    decoded,
    encoded,
    gif_of_many_frames,
    png_claiming,
    quarters,
)
from tests.support.server import server_of

GOOD = encoded(quarters(300, 200), "PNG")
NO_THUMBNAIL = (400, "M_UNKNOWN")
TOO_LARGE = (413, "M_TOO_LARGE")

NO_PICTURES: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(10_000),
    "text": b"hello",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "SVG with entities": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "HTML": b"<html><script>alert(1)</script></html>",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "BMP": encoded(quarters(300, 200), "BMP"),
    "TIFF": encoded(quarters(300, 200), "TIFF"),
    "ICO": encoded(quarters(64, 64), "ICO"),
    "PPM": encoded(quarters(300, 200), "PPM"),
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
}


async def test_what_is_no_picture_has_no_thumbnail(server: RunningServer, alice: Client) -> None:
    for name, content in NO_PICTURES.items():
        # The declared type does not count.
        uri = await uploads(alice, content, "image/png")
        assert (await thumbnails(alice, uri, 32, 32)).refusal == NO_THUMBNAIL, name
    assert await rows_of(server) == 0


BROKEN: dict[str, bytes] = {
    "PNG signature": b"\x89PNG\r\n\x1a\n",
    "PNG noise": b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(5000),
    "JPEG start": b"\xff\xd8\xff",
    "JPEG noise": b"\xff\xd8\xff" + random.Random(2).randbytes(5000),
    "GIF header": b"GIF89a",
    "GIF without frames": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "WebP header": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    "AVIF header": b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00avifmif1miaf",
    "no width": png_claiming(0, 100),
    "sides that overflow": png_claiming(2**31 - 1, 2**31 - 1)[:40],
    "script behind a header": b"GIF89a/*<script>*/=1;alert(1)//",
}


async def test_broken_pictures_have_no_thumbnail(alice: Client) -> None:
    for name, content in BROKEN.items():
        uri = await uploads(alice, content, "image/png")
        answer = await thumbnails(alice, uri, 32, 32, animated="true")
        assert answer.refusal in (NO_THUMBNAIL, TOO_LARGE), name
    uri = await uploads(alice, GOOD)
    assert (await thumbnails(alice, uri, 32, 32)).status == 200


async def test_truncated_pictures_have_no_thumbnail(alice: Client) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        whole = encoded(quarters(300, 200), kind)
        for part in (len(whole) // 2, len(whole) // 5):
            uri = await uploads(alice, whole[:part], "image/png")
            answer = await thumbnails(alice, uri, 32, 32)
            assert answer.refusal == NO_THUMBNAIL, (kind, part)
            # Neither is it passed on as its own thumbnail.
            answer = await thumbnails(alice, uri, 3000, 3000)
            assert answer.refusal == NO_THUMBNAIL, (kind, part)


async def test_damaged_pictures_do_no_harm(alice: Client) -> None:
    chance = random.Random(3)
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF"):
        whole = encoded(quarters(300, 200), kind)
        for _ in range(4):
            damaged = bytearray(whole)
            for _ in range(10):
                damaged[chance.randrange(12, len(damaged))] = chance.randrange(256)
            uri = await uploads(alice, bytes(damaged), "image/png")
            answer = await thumbnails(alice, uri, 32, 32, animated="true")
            assert answer.status in (200, 400, 413), kind
    uri = await uploads(alice, GOOD)
    assert (await thumbnails(alice, uri, 32, 32)).status == 200


async def test_pictures_of_too_many_pixels_are_not_decoded(alice: Client) -> None:
    for width, height in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (65_000, 1000)):
        uri = await uploads(alice, png_claiming(width, height), "image/png")
        assert (await thumbnails(alice, uri, 32, 32)).refusal == TOO_LARGE


async def test_animation_of_too_many_frames_does_not_move(alice: Client) -> None:
    uri = await uploads(alice, gif_of_many_frames(100_000), "image/gif")
    answer = await thumbnails(alice, uri, 32, 32)
    assert not getattr(decoded(answer.body), "is_animated", False)
    for kind in ("GIF", "WEBP", "PNG"):
        uri = await uploads(alice, animation(kind, 40, 40, 520), "image/gif")
        answer = await thumbnails(alice, uri, 20, 20, animated="true")
        assert answer.headers["Content-Type"] == "image/jpeg", kind


async def test_what_is_hidden_behind_a_picture_is_not_in_its_thumbnail(alice: Client) -> None:
    hidden = b"PK\x03\x04<script>alert(1)</script>" * 10_000
    small = await uploads(alice, encoded(quarters(30, 20), "PNG") + hidden, "image/png")
    for uri in (small, await uploads(alice, GOOD + hidden, "image/png")):
        answer = await thumbnails(alice, uri, 100, 100)
        assert answer.status == 200
        assert b"<script>" not in answer.body


async def test_file_that_is_too_large_has_no_thumbnail(database_dsn: str, tmp_path: Path) -> None:
    section = ThumbnailsSection(max_source_bytes=len(GOOD))
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        assert (await thumbnails(alice, await uploads(alice, GOOD), 32, 32)).status == 200
        larger = await uploads(alice, GOOD + b"x")
        assert (await thumbnails(alice, larger, 32, 32)).refusal == TOO_LARGE


@pytest.fixture
async def narrow_server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose thumbnail processes may use little memory and time."""
    section = ThumbnailsSection(worker_memory_bytes=128 * 1024 * 1024, worker_seconds=1, workers=1)
    async with server_of(database_dsn, tmp_path, thumbnails=section) as server:
        yield server


async def test_memory_of_a_process_is_bounded(narrow_server: RunningServer) -> None:
    async with clients_of(narrow_server.url) as maker:
        alice = await maker.user("alice")
        # 48 million pixels of three bytes.
        large = await uploads(alice, encoded(quarters(8000, 6000), "PNG"), "image/png")
        assert (await thumbnails(alice, large, 32, 32)).refusal == TOO_LARGE
        assert (await thumbnails(alice, await uploads(alice, GOOD), 32, 32)).status == 200


async def test_process_that_dies_is_replaced(server: RunningServer, alice: Client) -> None:
    workers = server.media.thumbnails._workers
    assert (await thumbnails(alice, await uploads(alice, GOOD), 32, 32)).status == 200
    for pid in workers.pids:
        os.kill(pid, 9)
    uri = await uploads(alice, GOOD)
    # Who was killed while it was idle is no fault of the file.
    assert (await thumbnails(alice, uri, 64, 64)).status == 200


async def test_too_many_at_once_are_told_to_come_later(database_dsn: str, tmp_path: Path) -> None:
    section = ThumbnailsSection(workers=1, max_waiting=0)
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        uri = await uploads(alice, encoded(quarters(2000, 1500), "PNG"), "image/png")
        answers = await asyncio.gather(*(thumbnails(alice, uri, n, n) for n in range(1, 6)))
        statuses = sorted(answer.status for answer in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        # Nothing is remembered against the picture.
        for side in range(1, 6):
            assert (await thumbnails(alice, uri, side, side)).status == 200


# Videos

MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(1000)


async def test_videos_have_no_thumbnail_without_ffmpeg(database_dsn: str, tmp_path: Path) -> None:
    section = ThumbnailsSection(videos=False)
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        for content in (MP4, b"\x1aE\xdf\xa3" + bytes(1000), b"OggS" + bytes(1000)):
            uri = await uploads(alice, content, "video/mp4")
            assert (await thumbnails(alice, uri, 32, 32)).refusal == NO_THUMBNAIL


async def test_video_shows_what_the_program_finds(database_dsn: str, tmp_path: Path) -> None:
    # A program that stands for ffmpeg and finds the same picture in every MP4.
    picture = tmp_path / "frame.png"
    picture.write_bytes(GOOD)
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable} -I\nimport sys\n"
        f"sys.exit(3) if 'matroska' in sys.argv else None\n"
        f"sys.stdout.buffer.write(open({str(picture)!r}, 'rb').read())\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    section = ThumbnailsSection(ffmpeg=program)
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        answer = await thumbnails(alice, await uploads(alice, MP4, "video/mp4"), 30, 20)
        assert answer.status == 200
        assert decoded(answer.body).size == (30, 20)
        uri = await uploads(alice, b"\x1aE\xdf\xa3" + bytes(1000), "video/webm")
        assert (await thumbnails(alice, uri, 30, 20)).refusal == NO_THUMBNAIL
        # A video is never its own thumbnail.
        answer = await thumbnails(alice, await uploads(alice, MP4 + b"x", "video/mp4"), 999, 999)
        assert answer.headers["Content-Type"] == "image/jpeg"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
async def test_broken_video_has_no_thumbnail(alice: Client) -> None:
    uri = await uploads(alice, MP4, "video/mp4")
    assert (await thumbnails(alice, uri, 32, 32)).refusal == NO_THUMBNAIL
