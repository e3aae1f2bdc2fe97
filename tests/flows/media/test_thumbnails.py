"""Thumbnails: sizes, formats, and what there is none of."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from homeserver.config.sections.federation import FederationSection
from homeserver.config.sections.media import MediaSection
from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.run.compose import RunningServer
from tests.support.client import Client, ClientMaker, clients_of
from tests.support.media import Answer, announces, asks, downloads, path_of, uploads, uploads_to
from tests.support.pictures import animation, corner_names, decoded, encoded, quarters
from tests.support.server import SERVER_NAME, server_of

THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
OLD_THUMBNAIL = "/_matrix/media/v3/thumbnail"


async def thumbnails(client: Client, uri: str, width: Any, height: Any, **query: Any) -> Answer:
    """Ask for a thumbnail."""
    path = f"{THUMBNAIL}/{path_of(uri)}"
    return await asks(client, "GET", path, width=width, height=height, **query)


async def rows_of(server: RunningServer) -> int:
    async with server.base.database.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM thumbnails")
        return count


# Sizes

SIZES = (
    # Asked for, and what comes of 1200 x 900 pixels.
    (32, 32, "crop", (32, 32)),
    (96, 96, "crop", (96, 96)),
    (320, 240, "scale", (320, 240)),
    (640, 480, "scale", (640, 480)),
    (800, 600, "scale", (800, 600)),
    # At least both sides of what is asked for.
    (100, 100, "scale", (134, 100)),
    (400, 100, "scale", (400, 300)),
    (1, 1, "scale", (2, 1)),
    (1, 1, "crop", (1, 1)),
    (400, 100, "crop", (400, 100)),
    # Never enlarged.
    (1200, 900, "scale", (1200, 900)),
    (5000, 5000, "scale", (1200, 900)),
    (5000, 5000, "crop", (1200, 900)),
    (1000, 1000, "crop", (900, 900)),
    (99_999_999_999, 1, "scale", (1200, 900)),
)


async def test_sizes_of_the_specification(alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(1200, 900), "JPEG"), "image/jpeg")
    for width, height, method, size in SIZES:
        answer = await thumbnails(alice, uri, width, height, method=method)
        assert answer.status == 200, (width, height, method, answer.body)
        assert decoded(answer.body).size == size, (width, height, method)


async def test_picture_that_is_small_enough_is_its_own_thumbnail(
    server: RunningServer, alice: Client
) -> None:
    content = encoded(quarters(40, 30), "PNG")
    # What the uploader says of it does not count.
    uri = await uploads(alice, content, "text/html", filename="evil.html")
    answer = await thumbnails(alice, uri, 320, 240)
    assert answer.body == content
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.png"'
    assert (await thumbnails(alice, uri, 320, 240)).body == content
    assert await rows_of(server) == 1


async def test_headers_keep_browsers_from_running_it(alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(300, 300), "JPEG"), "image/jpeg")
    answer = await thumbnails(alice, uri, 32, 32, method="crop")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.jpg"'
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Cache-Control"].startswith("private,")
    again = await asks(
        alice,
        "GET",
        f"{THUMBNAIL}/{path_of(uri)}",
        headers={"If-None-Match": answer.headers["ETag"]},
        width=32,
        height=32,
        method="crop",
    )
    assert (again.status, again.body) == (304, b"")


async def test_thumbnail_is_made_once(server: RunningServer, alice: Client, bob: Client) -> None:
    uri = await uploads(alice, encoded(quarters(1200, 900), "JPEG"), "image/jpeg")
    answers = await asyncio.gather(*(thumbnails(each, uri, 96, 96) for each in (alice, bob) * 5))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert await rows_of(server) == 1


# Formats

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")


async def test_every_format_comes_as_one_that_clients_know(alice: Client) -> None:
    for kind in FORMATS:
        uri = await uploads(alice, encoded(quarters(300, 200), kind), "application/octet-stream")
        answer = await thumbnails(alice, uri, 30, 20)
        assert answer.status == 200, (kind, answer.body)
        assert answer.headers["Content-Type"] == "image/jpeg"
        image = decoded(answer.body)
        assert image.size == (30, 20)
        assert corner_names(image) == ["red", "green", "blue", "yellow"], kind


async def test_avif_that_is_small_enough_comes_as_something_else(alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(30, 20), "AVIF"), "image/avif")
    answer = await thumbnails(alice, uri, 300, 200)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert decoded(answer.body).size == (30, 20)


async def test_transparency_stays(alice: Client) -> None:
    image = quarters(300, 300).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((300, 300)))
    for kind in ("PNG", "WEBP"):
        uri = await uploads(alice, encoded(image, kind), "image/png")
        answer = await thumbnails(alice, uri, 30, 30)
        assert answer.headers["Content-Type"] == "image/png"
        made = decoded(answer.body)
        assert made.mode == "RGBA"
        assert made.getpixel((15, 0))[3] < 20
        assert made.getpixel((15, 29))[3] > 235


async def test_unusual_colors_are_understood(alice: Client) -> None:
    corners = quarters(300, 200)
    files = {
        "CMYK": encoded(corners.convert("CMYK"), "JPEG"),
        "palette": encoded(corners.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "broken profile": encoded(corners, "JPEG", icc_profile=b"no profile at all"),
    }
    for name, content in files.items():
        uri = await uploads(alice, content, "image/jpeg")
        image = decoded((await thumbnails(alice, uri, 30, 20)).body)
        assert corner_names(image) == ["red", "green", "blue", "yellow"], name


async def test_gray_of_any_depth_stays_gray(alice: Client) -> None:
    deep = Image.new("I;16", (300, 200), 0x8000)
    bits = Image.new("1", (300, 200), 1)
    for image, brightness in ((deep, 128), (bits, 255), (Image.new("L", (300, 200), 7), 7)):
        uri = await uploads(alice, encoded(image, "PNG"), "image/png")
        made = decoded((await thumbnails(alice, uri, 30, 20)).body).convert("L")
        assert abs(made.getpixel((15, 10)) - brightness) <= 2, image.mode


TURNED = {
    1: ["red", "green", "blue", "yellow"],
    2: ["green", "red", "yellow", "blue"],
    3: ["yellow", "blue", "green", "red"],
    4: ["blue", "yellow", "red", "green"],
    5: ["red", "blue", "green", "yellow"],
    6: ["blue", "red", "yellow", "green"],
    7: ["yellow", "green", "blue", "red"],
    8: ["green", "yellow", "red", "blue"],
}


async def test_photos_are_set_upright(alice: Client) -> None:
    for orientation, names in TURNED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        uri = await uploads(alice, encoded(quarters(400, 200), "JPEG", exif=exif), "image/jpeg")
        answer = await thumbnails(alice, uri, 20, 20)
        image = decoded(answer.body)
        assert image.size == ((40, 20) if orientation < 5 else (20, 40)), orientation
        assert corner_names(image) == names, orientation
        assert b"Exif" not in answer.body


# Animations


async def test_animation_moves_only_when_asked_to(alice: Client) -> None:
    for kind in ("GIF", "WEBP", "PNG"):
        uri = await uploads(alice, animation(kind, 200, 100, 5), "image/gif")
        for still in ({}, {"animated": "false"}):
            answer = await thumbnails(alice, uri, 20, 10, **still)
            assert answer.headers["Content-Type"] == "image/jpeg", kind
        answer = await thumbnails(alice, uri, 20, 10, animated="true")
        assert answer.headers["Content-Type"] == "image/webp", kind
        image = decoded(answer.body)
        assert (image.size, image.n_frames) == ((20, 10), 5)


async def test_small_animation_does_not_move_either(alice: Client) -> None:
    content = animation("GIF", 20, 10, 5)
    uri = await uploads(alice, content, "image/gif")
    still = await thumbnails(alice, uri, 200, 100)
    assert decoded(still.body).size == (20, 10)
    assert not getattr(decoded(still.body), "is_animated", False)
    moving = await thumbnails(alice, uri, 200, 100, animated="true")
    assert moving.body == content


async def test_picture_that_cannot_move_does_not(alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(200, 100), "JPEG"), "image/jpeg")
    answer = await thumbnails(alice, uri, 20, 10, animated="true")
    assert answer.headers["Content-Type"] == "image/jpeg"


# Settings


async def test_fixed_sizes(database_dsn: str, tmp_path: Path) -> None:
    section = ThumbnailsSection(dynamic_sizes=False)
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        uri = await uploads(alice, encoded(quarters(1200, 900), "JPEG"), "image/jpeg")
        for width, height, method, size in (
            (10, 10, "crop", (32, 32)),
            (33, 33, "crop", (96, 96)),
            (64, 48, "crop", (320, 240)),
            (10, 10, "scale", (320, 240)),
            (321, 10, "scale", (640, 480)),
            (801, 601, "scale", (1200, 900)),
        ):
            answer = await thumbnails(alice, uri, width, height, method=method)
            assert decoded(answer.body).size == size, (width, height, method)


async def test_thumbnails_can_be_made_at_the_upload(database_dsn: str, tmp_path: Path) -> None:
    section = ThumbnailsSection(at_upload=True)
    async with (
        server_of(database_dsn, tmp_path, thumbnails=section) as server,
        clients_of(server.url) as maker,
    ):
        alice = await maker.user("alice")
        await uploads(alice, encoded(quarters(1200, 900), "JPEG"), "image/jpeg")
        async with asyncio.timeout(60):
            while await rows_of(server) < len(section.sizes):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)


# With the content


async def test_announced_upload_is_waited_for(alice: Client) -> None:
    uri = (await announces(alice))["content_uri"]
    early = await thumbnails(alice, uri, 32, 32, timeout_ms=10)
    assert early.refusal == (504, "M_NOT_YET_UPLOADED")
    waiting = asyncio.create_task(thumbnails(alice, uri, 32, 32, timeout_ms=20_000))
    await uploads_to(alice, uri, encoded(quarters(300, 300), "PNG"), "image/png")
    assert decoded((await waiting).body).size == (32, 32)


async def test_quarantined_media_has_no_thumbnail(server: RunningServer, alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(300, 300), "PNG"), "image/png")
    assert (await thumbnails(alice, uri, 32, 32)).status == 200
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE media SET quarantined_by = '@admin:hs.example'")
    assert (await thumbnails(alice, uri, 32, 32)).refusal == (404, "M_NOT_FOUND")


async def test_thumbnails_go_with_the_picture(server: RunningServer, alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(300, 300), "PNG"), "image/png")
    assert (await thumbnails(alice, uri, 32, 32)).status == 200
    async with server.base.database.connection() as connection:
        await connection.execute("DELETE FROM media")
        # An hour passes; the picture goes, and then what has lost its picture.
        await connection.execute("UPDATE media_blobs SET touched_ts = 0")
        await server.media.store.collect()
        assert await rows_of(server) == 0
        await server.media.store.collect()
        assert await connection.fetchval("SELECT count(*) FROM media_blobs") == 0
    assert (await thumbnails(alice, uri, 32, 32)).refusal == (404, "M_NOT_FOUND")


# Refusals

BAD_QUERIES: tuple[dict[str, Any], ...] = (
    {"width": "wide", "height": 1},
    {"width": 1.5, "height": 1},
    {"width": 0, "height": 1},
    {"width": 1, "height": -1},
    {"width": "", "height": 1},
    {"width": 1, "height": 1, "method": "stretch"},
    {"width": 1, "height": 1, "animated": "perhaps"},
    {"width": 1, "height": 1, "timeout_ms": "soon"},
)


async def test_query_that_makes_no_sense_is_refused(alice: Client) -> None:
    uri = await uploads(alice, encoded(quarters(300, 300), "PNG"), "image/png")
    for query in BAD_QUERIES:
        for base in (THUMBNAIL, OLD_THUMBNAIL):
            answer = await asks(alice, "GET", f"{base}/{path_of(uri)}", **query)
            assert answer.refusal == (400, "M_INVALID_PARAM"), query
    incomplete: tuple[dict[str, Any], ...] = ({}, {"width": 1}, {"height": 1})
    for query in incomplete:
        answer = await asks(alice, "GET", f"{THUMBNAIL}/{path_of(uri)}", **query)
        assert answer.refusal == (400, "M_MISSING_PARAM"), query


async def test_unknown_media_and_bad_uris(alice: Client) -> None:
    unknown = await thumbnails(alice, f"mxc://{SERVER_NAME}/unknown", 32, 32)
    assert unknown.refusal == (404, "M_NOT_FOUND")
    for path in (f"{SERVER_NAME}/..%2Fx", "a%2F..%2Fb/abc", f"{SERVER_NAME}/a%00"):
        answer = await asks(alice, "GET", f"{THUMBNAIL}/{path}", width=1, height=1)
        assert answer.refusal == (400, "M_INVALID_PARAM"), path


async def test_thumbnail_needs_a_token_and_guests_have_one(
    clients: ClientMaker, alice: Client, guest: Client
) -> None:
    uri = await uploads(alice, encoded(quarters(300, 300), "PNG"), "image/png")
    answer = await thumbnails(clients.nobody(), uri, 32, 32)
    assert answer.refusal == (401, "M_MISSING_TOKEN")
    assert (await thumbnails(guest, uri, 32, 32)).status == 200


@pytest.fixture
async def open_server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that has not frozen the old paths."""
    media = MediaSection(freeze_unauthenticated_ts=None)
    federation = FederationSection(enabled=False)
    async with server_of(database_dsn, tmp_path, media=media, federation=federation) as server:
        yield server


async def test_old_paths(alice: Client, open_server: RunningServer) -> None:
    content = encoded(quarters(300, 300), "PNG")
    frozen = f"{OLD_THUMBNAIL}/{path_of(await uploads(alice, content))}"
    answer = await asks(alice, "GET", frozen, width=32, height=32)
    assert answer.refusal == (404, "M_NOT_FOUND")
    async with clients_of(open_server.url) as maker:
        uri = await uploads(await maker.user("olivia"), content, "image/png")
        for version in ("v3", "v1", "r0"):
            path = f"/_matrix/media/{version}/thumbnail/{path_of(uri)}"
            answer = await asks(maker.nobody(), "GET", path, width=32, height=32, method="crop")
            assert (answer.status, decoded(answer.body).size) == (200, (32, 32))
            assert answer.headers["Cache-Control"].startswith("public,")


async def test_original_stays_as_it_is(alice: Client) -> None:
    content = encoded(quarters(300, 300), "PNG")
    uri = await uploads(alice, content, "image/png")
    await thumbnails(alice, uri, 32, 32)
    assert (await downloads(alice, uri)).body == content
