"""Fetching what users name: addresses, redirects, sizes and times."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.values import PRIVATE_RANGES, IpRange
from homeserver.errors import RemoteError
from homeserver.web.outgoing_http import AddressRules
from homeserver.web.page_fetch import FetchLimits, PageFetch
from tests.support.web_site import WebSite, web_site

LIMITS = FetchLimits(seconds=2, max_bytes=100_000)
LOOPBACK = OutgoingHttpSection(allowed_ip_ranges=(IpRange("127.0.0.1/32"),))

# IPv4 addresses of this machine inside IPv6 addresses, of every kind that leads there somewhere.
INNER = {
    "mapped": "::ffff:127.0.0.1",
    "compatible": "::127.0.0.1",
    "6to4": "2002:7f00:1::",
    "Teredo": "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "NAT64": "64:ff9b::127.0.0.1",
    "ISATAP": "2001:db9::5efe:127.0.0.1",
    "ISATAP, global": "2001:db9::200:5efe:127.0.0.1",
}


@pytest.mark.parametrize("address", INNER.values(), ids=INNER)
def test_an_inner_address_counts_whatever_surrounds_it(address: str) -> None:
    assert not AddressRules((), (IpRange("127.0.0.0/8"),)).allows(address)


@pytest.mark.parametrize("address", ["2606:4700::1111", "1.1.1.1"])
def test_public_addresses_have_nothing_inside(address: str) -> None:
    assert AddressRules((), PRIVATE_RANGES).allows(address)


class Names(AbstractResolver):
    """Answers each question about a name with the next of its addresses, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for each in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def site() -> AsyncIterator[WebSite]:
    async with web_site() as made:
        yield made


async def read(fetch: PageFetch, url: str, limits: FetchLimits = LIMITS) -> bytes:
    try:
        async with fetch.get(
            URL(url), headers={"Accept-Encoding": "gzip"}, check=lambda _: None, limits=limits
        ) as page:
            return b"".join([chunk async for chunk in page.chunks()])
    finally:
        await fetch.close()


async def test_a_name_that_leads_inside_is_not_contacted(site: WebSite) -> None:
    site.puts("/", "secret")
    fetch = PageFetch(OutgoingHttpSection(), resolver=Names(["127.0.0.1"]))
    with pytest.raises(RemoteError):
        await read(fetch, site.url("/", "public.example"))
    assert site.asked == []


async def test_a_name_that_changes_its_address_gains_nothing(site: WebSite) -> None:
    """The answer that was checked is the one that is used: nobody asks a second time."""
    site.puts("/", "page")
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    assert await read(PageFetch(LOOPBACK, resolver=names), site.url("/", "a.example")) == b"page"
    assert names.asked == 1
    # The other way round: a good address first, for whoever checks, and then a bad one.
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    blocked = OutgoingHttpSection(
        allowed_ip_ranges=(IpRange("127.0.0.2/32"),), blocked_ip_ranges=(IpRange("127.0.0.1/32"),)
    )
    with pytest.raises(RemoteError):
        await read(PageFetch(blocked, resolver=names), site.url("/", "a.example"))
    assert names.asked == 1


async def test_of_several_addresses_only_good_ones_are_used(site: WebSite) -> None:
    site.puts("/", "page")
    names = Names(["10.0.0.1", "127.0.0.1", "169.254.169.254"])
    assert await read(PageFetch(LOOPBACK, resolver=names), site.url("/", "a.example")) == b"page"


async def test_each_redirect_is_checked(site: WebSite) -> None:
    seen = []
    url = site.redirects("/first", site.redirects("/second", "/third"))
    site.puts("/third", "page")
    fetch = PageFetch(LOOPBACK)
    async with fetch.get(URL(url), headers={}, check=seen.append, limits=LIMITS) as page:
        assert page.url.path == "/third"
    await fetch.close()
    assert [each.path for each in seen] == ["/first", "/second", "/third"]


async def test_redirects_in_a_circle_end(site: WebSite) -> None:
    with pytest.raises(RemoteError, match="redirects"):
        await read(PageFetch(LOOPBACK), site.redirects("/a", "/a"))
    assert len(site.asked) == 6


async def test_what_is_too_large_is_given_up_packed_or_not(site: WebSite) -> None:
    async def bomb(_request: web.Request) -> web.Response:
        return web.Response(
            body=gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"}
        )

    site.puts("/large", bytes(100_001), "text/html")
    site.pages["/bomb"] = bomb
    for path in ("/large", "/bomb"):
        with pytest.raises(RemoteError, match="too large"):
            await read(PageFetch(LOOPBACK), site.url(path))


async def test_time_is_for_everything_together(site: WebSite) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    site.pages["/"] = dripping
    with pytest.raises(RemoteError, match="TimeoutError"):
        await read(PageFetch(LOOPBACK), site.url("/"), FetchLimits(0.2, 100_000))
