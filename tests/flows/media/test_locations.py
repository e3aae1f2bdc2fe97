"""Where a picture was taken is not kept, when the operator wishes so; all else is."""

import hashlib
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from homeserver.config.sections.media import MediaSection
from homeserver.run.compose import RunningServer
from media_repo.locations import location_patches
from tests.support.client import Client, clients_of
from tests.support.media import downloads, uploads
from tests.support.pictures import decoded, encoded, quarters
from tests.support.server import server_of

GPS = 0x8825
MAKER, ORIENTATION = 0x010F, 0x0112
LATITUDE = (48.0, 51.0, 29.6)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:exif="urn:exif">'
    b'<x:Description exif:GPSLatitude="48,51.49N"'
    b" exif:GPSLongitude='2,17.67E' title=\"tower\">"
    b"<exif:GPSAltitude>330/1</exif:GPSAltitude></x:Description></x:xmpmeta>"
)


def taken_at(order: str = "<") -> Image.Exif:
    """Return what a camera writes."""
    exif = Image.Exif()
    exif.endian = order
    exif[MAKER] = "A maker of cameras"
    exif[ORIENTATION] = 6
    place = exif.get_ifd(GPS)
    place.update({1: "N", 2: LATITUDE, 3: "E", 4: (2.0, 17.0, 40.2), 29: "2026:11:24"})
    return exif


def photo(kind: str, **options: Any) -> bytes:
    return encoded(quarters(64, 48), kind, exif=taken_at(), **options)


def without_place(content: bytes) -> bytes:
    changed = bytearray(content)
    for offset, written in location_patches(content):
        changed[offset : offset + len(written)] = written
    assert len(changed) == len(content)
    return bytes(changed)


@pytest.fixture
async def discreet(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    settings = MediaSection(remove_locations=True)
    async with server_of(database_dsn, tmp_path, media=settings) as server:
        yield server


@pytest.fixture
async def user(discreet: RunningServer) -> AsyncIterator[Client]:
    async with clients_of(discreet.url) as clients:
        yield await clients.user("dora")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
async def test_upload_is_kept_without_its_place(user: Client, kind: str) -> None:
    original = photo(kind)
    assert Image.open(io.BytesIO(original)).getexif().get_ifd(GPS)[2] == LATITUDE

    # The type that the client states does not matter.
    kept = (await downloads(user, await uploads(user, original, "text/plain"))).body

    picture = decoded(kept)
    assert picture.getexif().get_ifd(GPS) == {}
    assert picture.getexif()[MAKER] == "A maker of cameras"
    assert picture.tobytes() == decoded(original).tobytes()
    assert len(kept) == len(original)


async def test_upload_without_a_place_stays_as_it_is(user: Client) -> None:
    for content in (b"", b"\xff\xd8\xff", encoded(quarters(64, 48), "JPEG"), b"plain text"):
        kept = (await downloads(user, await uploads(user, content))).body
        assert kept == content


async def test_without_the_setting_every_upload_stays_as_it_is(alice: Client) -> None:
    original = photo("JPEG")
    kept = (await downloads(alice, await uploads(alice, original))).body
    assert hashlib.sha256(kept).digest() == hashlib.sha256(original).digest()


def test_big_endian_cameras_are_understood() -> None:
    # Pillow writes the order of the machine it is on; this is what the other kind writes.
    entries = (
        (MAKER, 2, 4, b"abc\0"),
        (GPS, 4, 1, (38).to_bytes(4, "big")),
    )
    folder = b"".join(
        tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + count.to_bytes(4, "big") + value
        for tag, kind, count, value in entries
    )
    place = (
        b"\0\1\0\2\0\5\0\0\0\3" + (56).to_bytes(4, "big") + bytes(4) + b"SECRETSECRETSECRETSECRET"
    )
    exif = b"MM\0*" + b"\0\0\0\x08" + b"\0\2" + folder + bytes(4) + place
    original = encoded(quarters(8, 8), "JPEG", exif=b"Exif\0\0" + exif)
    changed = without_place(original)
    assert b"SECRET" in original
    assert b"SECRET" not in changed
    assert dict(decoded(changed).getexif()) == {MAKER: "abc"}


def test_places_in_xmp_become_blanks() -> None:
    original = encoded(quarters(8, 8), "JPEG", xmp=XMP)
    changed = without_place(original)
    assert b"GPS" in original
    assert b"GPS" not in changed
    (described,) = ET.fromstring(decoded(changed).info["xmp"])
    assert (described.attrib, list(described)) == ({"title": "tower"}, [])


def test_every_picture_of_a_file_loses_its_place() -> None:
    two = photo("JPEG") + photo("JPEG")
    changed = without_place(two)
    assert changed == without_place(photo("JPEG")) * 2


def test_hostile_metadata_changes_no_length_and_takes_no_time() -> None:
    chance = random.Random(7)
    originals = [photo(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF")]
    for original in originals:
        for _ in range(300):
            damaged = bytearray(original)
            for _ in range(chance.randrange(1, 20)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            without_place(bytes(damaged))
            without_place(bytes(damaged[: chance.randrange(len(damaged))]))
    for repeated in (b"Exif\0\0II*\0\x08\0\0\0", b"exif:GPS" + b"a" * 40):
        without_place(b"\xff\xd8\xff" + repeated * 200_000)
    without_place(b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"iTXt" + bytes(4)) * 200_000)
    without_place(b"RIFF\0\0\0\0WEBP" + (b"EXIF" + bytes(4)) * 200_000)
