"""The process that reads pages of strangers, and what it makes of hostile ones."""

from collections.abc import AsyncIterator

import pytest

from media_repo.previews.encodings import decode_page
from media_repo.previews.oembed import parse_oembed
from media_repo.previews.page import facts_of
from media_repo.previews.reading import Reading


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    made = Reading()
    yield made
    await made.close()


async def test_a_page_that_fills_the_memory_does_no_harm(reading: Reading) -> None:
    swelling = b"".join(b'<font a="%d"><p>' % number for number in range(60_000))
    await reading.page(swelling, None)
    assert await reading.page(b"<title>next</title>", None) is not None


async def test_a_page_that_keeps_a_parser_busy_is_given_up(reading: Reading) -> None:
    assert await reading.page(b"<div>" * 100_000, None) is None
    facts = await reading.page(b"<title>next</title>", None)
    assert facts is not None
    assert facts.properties == {"og:title": "next"}


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0" * 1000, b"<" * 100_000, b"\xff\xfe", b"<title>", b"<meta property content=x>",
     b"<!--" * 50_000, b"<script>" * 50_000, b"&amp" * 100_000],
)  # fmt: skip
async def test_any_bytes_are_a_page(reading: Reading, raw: bytes) -> None:
    assert await reading.page(raw, "utf-8") is not None


ENCODINGS = [
    ("日本語", "cp932", None, "<html lang=ja>"),
    ("日本語のページです", "euc-jp", None, '<meta charset="EUC-JP">'),
    ("中文", "gb18030", None, '<meta http-equiv=x content="text/html; charset=gb2312">'),
    ("中文", "big5hkscs", "Big5", ""),
    ("한국어", "cp949", None, "<meta charset=ks_c_5601-1987>"),
    ("Привет", "cp1251", None, "<html lang=ru-RU>"),
    ("Привет", "koi8-r", "KOI8-R", ""),
    ("Grüße €", "cp1252", "iso-8859-1", ""),
    ("Grüße €", "cp1252", None, ""),
    ("Grüße", "utf-8", None, ""),
    ("Grüße", "utf-8", "utf-7", ""),
    ("Grüße", "utf-8", "unicode_escape", ""),
    ("Grüße", "utf-8", None, '<meta charset="utf-16">'),
    ("Grüße", "utf-8", None, '<?xml version="1.0" encoding="UTF-8"?>'),
    ("Grüße", "utf-16-be", "utf-16be", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "codec", "charset", "before"), ENCODINGS)
def test_a_page_is_decoded(text: str, codec: str, charset: str | None, before: str) -> None:
    raw = f"{before}<title>{text}</title>".encode(codec)
    assert decode_page(raw, charset).endswith(f"<title>{text}</title>")


def test_a_page_that_is_cut_off_within_a_character_is_utf_8_still() -> None:
    assert decode_page("<title>Grüße</title>ü".encode()[:-1], None).startswith("<title>Grüße")


def test_texts_are_bounded_and_without_control_characters() -> None:
    title = "a\u202eb\0c" + "x" * 100_000
    facts = facts_of(f'<meta property="og:title" content="{title}">')
    assert len(facts.properties["og:title"]) <= 1001
    assert facts.properties["og:title"].isprintable()


def test_only_open_graph_is_told_and_no_addresses_that_lead_around_this_server() -> None:
    names = ["og:title", "og:video:url", "og:audio", "og:image:width", "matrix:image:size",
             "csrf-token", "OG:Site_Name", "og:"]  # fmt: skip
    page = "".join(f'<meta property="{name}" content="v">' for name in names)
    assert facts_of(page).properties == {"og:title": "v", "og:site_name": "v"}


def test_there_are_not_any_number_of_properties() -> None:
    page = "".join(f'<meta property="og:x{number}" content="v">' for number in range(5_000))
    assert len(facts_of(page).properties) == 40


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"null", b'{"type": 5}', b'{"type": "video"', b"\xff", b"[" * 10_000],
)
def test_what_is_no_oembed_is_none(raw: bytes) -> None:
    assert parse_oembed(raw) is None


def test_members_of_oembed_of_other_types_are_left_out() -> None:
    told = parse_oembed(b'{"type":"photo","url":["x"],"title":{},"provider_name":7,"html":1}')
    assert told is not None
    assert (told.properties, told.image, told.html) == ({"og:type": "website"}, None, None)
