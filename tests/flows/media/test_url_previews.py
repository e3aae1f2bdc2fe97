"""Previews of URLs. Spec: client-server-api/#get_matrixclientv1mediapreview_url"""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.sections.url_previews import OEmbedProvider, UrlPreviewsSection
from homeserver.config.values import IpRange
from tests.support.client import Client, clients_of, refused
from tests.support.media import downloads
from tests.support.server import server_of
from tests.support.web_site import WebSite, web_site

PREVIEW = "/_matrix/client/v1/media/preview_url"
TWITTER = """<meta name="twitter:title" content="Bird">
<meta name="twitter:description" content="Song">"""
PARAGRAPH = """<title>T</title><body><main><p>First paragraph of the page, long enough to be told.
</p></main>"""
LOOPBACK = OutgoingHttpSection(allowed_ip_ranges=(IpRange("127.0.0.1/32"),))


@pytest.fixture
async def site() -> AsyncIterator[WebSite]:
    async with web_site() as made:
        yield made


@pytest.fixture
async def reader(database_dsn: str, tmp_path: Path, site: WebSite) -> AsyncIterator[Client]:
    """A user of a server that may fetch from the site."""
    settings = UrlPreviewsSection(
        timeout_ms=2_000,
        blocked_hosts=("127.0.0.1/private/*",),
        oembed_providers=(
            OEmbedProvider(endpoint=site.url("/oembed"), urls=("127.0.0.1/video/*",)),
        ),
    )
    sections: dict[str, Any] = {"outgoing_http": LOOPBACK, "url_previews": settings}
    async with (
        server_of(database_dsn, tmp_path, **sections) as server,
        clients_of(server.url) as users,
    ):
        yield await users.user("reader")


def picture(width: int = 60, height: int = 70, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, kind)
    return buffer.getvalue()


async def test_open_graph_is_told_and_its_image_is_media(reader: Client, site: WebSite) -> None:
    image = site.puts("/image.png", picture(), "image/png")
    url = site.puts(
        "/page",
        f"""<html><head><title>No</title><meta property="og:title" content="Title &amp; more">
        <meta property="og:description" content="What it is"><meta property="og:type"
        content="article"><meta property="og:image" content="{image}"></head></html>""",
    )
    told = await reader.get(PREVIEW, url=url)
    assert (told["og:title"], told["og:description"]) == ("Title & more", "What it is")
    assert (told["og:type"], told["og:image:type"]) == ("article", "image/png")
    assert (told["og:image:width"], told["og:image:height"]) == (60, 70)
    assert told["matrix:image:size"] == len(picture())
    assert (await downloads(reader, told["og:image"])).body == picture()
    assert told == await reader.get("/_matrix/media/v3/preview_url", url=url)


@pytest.mark.parametrize(
    ("page", "title", "description"),
    [
        (TWITTER, "Bird", "Song"),
        ('<title>Plain</title><meta name="description" content="Words">', "Plain", "Words"),
        (PARAGRAPH, "T", "First paragraph of the page, long enough to be told."),
        ("<title> \n Two \t words </title>", "Two words", None),
    ],
    ids=["twitter", "meta", "paragraph", "title"],
)  # fmt: skip
async def test_a_page_without_open_graph_is_read_all_the_same(
    reader: Client, site: WebSite, page: str, title: str, description: str | None
) -> None:
    told = await reader.get(PREVIEW, url=site.puts("/page", f"<html>{page}</html>"))
    assert told["og:title"] == title
    assert told.get("og:description") == description


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        ("<title>Zażółć</title>".encode(), "text/html; charset=utf-8"),
        ("<title>Zażółć</title>".encode("iso-8859-2"), "text/html; charset=iso-8859-2"),
        (
            '<meta charset="iso-8859-2"><title>Zażółć</title>'.encode("iso-8859-2"),
            "text/html",
        ),
        ("<title>Zażółć</title>".encode("utf-16"), "text/html"),
        (b"\xef\xbb\xbf" + "<title>Zażółć</title>".encode(), "text/html; charset=ascii"),
    ],
    ids=["header", "latin-2", "meta", "utf-16 mark", "utf-8 mark"],
)
async def test_encodings_are_understood(
    reader: Client, site: WebSite, raw: bytes, content_type: str
) -> None:
    told = await reader.get(PREVIEW, url=site.puts("/page", raw, content_type))
    assert told["og:title"] == "Zażółć"


async def test_an_unknown_encoding_does_no_harm(reader: Client, site: WebSite) -> None:
    url = site.puts("/page", b"<title>\xff\xfeOK</title>", "text/html; charset=nonsense")
    assert "OK" in (await reader.get(PREVIEW, url=url))["og:title"]


async def test_an_image_is_its_own_preview(reader: Client, site: WebSite) -> None:
    url = site.puts("/i.webp", picture(30, 20, "WEBP"), "image/webp")
    told = await reader.get(PREVIEW, url=url)
    assert (told["og:image:type"], told["og:image:width"]) == ("image/webp", 30)


async def test_a_site_with_oembed_is_asked(reader: Client, site: WebSite) -> None:
    site.puts(
        "/oembed",
        '{"type": "video", "version": "1.0", "title": "A film", "provider_name": "Tube"}',
        "application/json",
    )
    told = await reader.get(PREVIEW, url=site.puts("/video/1", "<title>No</title>"))
    assert (told["og:title"], told["og:site_name"]) == ("A film", "Tube")
    assert [each.path for each in site.asked] == ["/oembed"]


async def test_a_page_is_fetched_once_for_all_and_then_kept(reader: Client, site: WebSite) -> None:
    url = site.puts("/page", "<title>Once</title>")
    told = await asyncio.gather(*(reader.get(PREVIEW, url=url) for _ in range(10)))
    assert {each["og:title"] for each in told} == {"Once"}
    assert (await reader.get(PREVIEW, url=f"{url}#part", ts=0))["og:title"] == "Once"
    assert len(site.asked) == 1


async def test_languages_are_passed_on(reader: Client, site: WebSite) -> None:
    url = site.puts("/page", "<title>T</title>")
    await reader.get(PREVIEW, url=url)
    assert site.asked[-1].headers["Accept-Language"] == "*" or site.asked[-1].headers[
        "Accept-Language"
    ].startswith("en")
    assert "Cookie" not in site.asked[-1].headers
    assert "Authorization" not in site.asked[-1].headers


NO_WEB_ADDRESS = [
        "", "/page", "ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/", "http://",
        "http:///x", "javascript:alert(1)", "http://[::1", "x" * 9_000,
        "http://example.org/" + "x" * 9_000,
]  # fmt: skip


async def test_what_is_no_web_address_is_refused(reader: Client) -> None:
    for url in NO_WEB_ADDRESS:
        with refused(400, "M_INVALID_PARAM"):
            await reader.get(PREVIEW, url=url)


async def test_who_asks_must_say_what_and_who_they_are(reader: Client) -> None:
    with refused(400, "M_MISSING_PARAM"):
        await reader.get(PREVIEW)
    reader.access_token = None
    with refused(401, "M_MISSING_TOKEN"):
        await reader.get(PREVIEW, url="http://example.org/")


# Everything that leads to an address of this machine or of its network; 127.0.0.1 alone is let
# through by the configuration of these tests.
PRIVATE = [
    "127.0.0.2", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    "[::1]", "[::]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::ffff:10.0.0.1]", "[fe80::1]",
    "[fc00::1]", "[fd00::1]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[ff02::1]",
    "2130706434", "0x7f000002", "017700000002", "127.2", "0x7f.2", "0177.0.0.2",
]  # fmt: skip


async def test_addresses_of_the_inner_network_are_never_contacted(
    reader: Client, site: WebSite
) -> None:
    site.puts("/secret", "<title>secret</title>")
    for number, host in enumerate(PRIVATE):
        inner = site.url("/secret", host)
        for url in (inner, site.redirects(f"/to{number}", inner)):
            with refused(502, "M_UNKNOWN"):
                await reader.get(PREVIEW, url=url)
    assert "/secret" not in [each.path for each in site.asked]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:22/", "http://127.0.0.1:25/", "http://a:b@127.0.0.1/",
        "http://a@127.0.0.1/", "http://127.0.0.1/private/x",
    ],
)  # fmt: skip
async def test_some_ports_and_places_are_refused(reader: Client, site: WebSite, url: str) -> None:
    with refused(403, "M_FORBIDDEN"):
        await reader.get(PREVIEW, url=url)
    with refused(403, "M_FORBIDDEN"):
        await reader.get(PREVIEW, url=site.redirects("/to", url))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "/loop", "http://"])
async def test_redirects_to_nowhere_end(reader: Client, site: WebSite, location: str) -> None:
    with pytest.raises(Exception, match=r"40[03]|502"):
        await reader.get(PREVIEW, url=site.redirects("/loop", location))
    assert len(site.asked) < 10


async def test_a_redirect_to_a_good_page_is_followed(reader: Client, site: WebSite) -> None:
    site.puts("/page", "<title>There</title>")
    assert (await reader.get(PREVIEW, url=site.redirects("/to", "/page")))["og:title"] == "There"


async def test_an_endless_page_is_read_in_part_and_a_silent_one_given_up(
    reader: Client, site: WebSite
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        await response.write(b"<title>Endless</title>")
        while True:
            await response.write(b"<p>more</p>" * 10_000)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    site.pages |= {"/endless": endless, "/silent": silent}
    assert (await reader.get(PREVIEW, url=site.url("/endless")))["og:title"] == "Endless"
    with refused(502, "M_UNKNOWN"):
        await reader.get(PREVIEW, url=site.url("/silent"))


@pytest.mark.parametrize("status", [404, 500])
async def test_a_page_that_is_not_there_has_no_preview(
    reader: Client, site: WebSite, status: int
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="<title>error</title>", content_type="text/html")

    site.pages["/gone"] = answer
    with refused(502, "M_UNKNOWN"):
        await reader.get(PREVIEW, url=site.url("/gone"))


@pytest.mark.parametrize(
    "image", [b"", b"no image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture()[:30]]
)
async def test_what_is_no_image_is_left_out(reader: Client, site: WebSite, image: bytes) -> None:
    address = site.puts("/image.png", image, "image/png")
    page = f'<meta property="og:title" content="T"><meta property="og:image" content="{address}">'
    told = await reader.get(PREVIEW, url=site.puts("/page", page))
    assert told["og:title"] == "T"
    assert "og:image" not in told


async def test_previews_can_be_turned_off(database_dsn: str, tmp_path: Path, site: WebSite) -> None:
    off = UrlPreviewsSection(enabled=False)
    async with (
        server_of(database_dsn, tmp_path, outgoing_http=LOOPBACK, url_previews=off) as server,
        clients_of(server.url) as users,
    ):
        reader = await users.user("reader")
        with refused(403, "M_FORBIDDEN"):
            await reader.get(PREVIEW, url=site.puts("/page", "<title>T</title>"))
        told = (await reader.get("capabilities"))["capabilities"]
        assert told["io.element.msc4452.preview_url"] == {"enabled": False}
