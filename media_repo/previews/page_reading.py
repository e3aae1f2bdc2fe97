"""From a URL to what its page says, with the addresses of its images."""

import re
from typing import Final

import msgspec
from yarl import URL

from homeserver.config.sections.url_previews import UrlPreviewsSection
from homeserver.config.version import NAME, version
from homeserver.errors import MatrixError, RemoteError
from homeserver.web.page_fetch import FetchedPage, FetchLimits, PageFetch
from media_repo.previews.oembed import (
    MAX_ANSWER_BYTES,
    OEmbedAnswer,
    OEmbedProviders,
    parse_oembed,
)
from media_repo.previews.page import PageFacts, clean
from media_repo.previews.reading import Reading
from media_repo.previews.url_rules import UrlRules

# Heads are at the beginning, but some pages put a megabyte of script before them.
_MAX_HTML_BYTES: Final = 2 * 1024 * 1024
_HTML: Final = frozenset(("text/html", "application/xhtml+xml", "application/xml", "text/xml"))
_LOOKS_LIKE_HTML: Final = re.compile(rb"\s*(?:<!doctype\s+html|<html|<head)", re.IGNORECASE)
_ACCEPT: Final = "text/html,application/xhtml+xml,image/*;q=0.9,*/*;q=0.5"
# Some sites give Open Graph only to what calls itself a bot.
_USER_AGENT: Final = f"Mozilla/5.0 (compatible; {NAME}/{version()}; URL preview bot)"


class ReadPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says; `images` are absolute, best first. `is_image`: the URL is one itself."""

    properties: dict[str, str]
    images: list[URL]
    is_image: bool = False


class PageReading:
    """Fetches pages and reads them."""

    def __init__(
        self, fetch: PageFetch, rules: UrlRules, reading: Reading, settings: UrlPreviewsSection
    ) -> None:
        self._fetch = fetch
        self._rules = rules
        self._reading = reading
        self._providers = OEmbedProviders(settings.oembed_providers)
        self._limits = FetchLimits(settings.timeout_ms / 1000, settings.max_page_bytes)

    async def read(self, url: URL, languages: str) -> ReadPage:
        """Read a page. Raises RemoteError, Forbidden."""
        endpoint = self._providers.endpoint_for(url)
        if endpoint is not None:
            told = await self._oembed(endpoint, languages)
            if told is not None and (told.image or "og:title" in told.properties):
                return await self._of_oembed(told, endpoint)
        return await self._of_page(url, languages)

    async def _of_page(self, url: URL, languages: str) -> ReadPage:
        raw = b""
        headers = request_headers(languages)
        async with self._fetch.get(
            url, headers=headers, check=self._rules.check, limits=self._limits
        ) as page:
            if not 200 <= page.status < 300:
                raise RemoteError(url.host or "", "unexpected status", status=page.status)
            if page.content_type.startswith("image/"):
                return ReadPage(properties={}, images=[page.url], is_image=True)
            if _may_be_html(page):
                raw = await page.beginning(min(_MAX_HTML_BYTES, self._limits.max_bytes))
        if page.content_type not in _HTML and not _LOOKS_LIKE_HTML.match(raw[:1024]):
            return ReadPage(properties=_named_by(page.url), images=[])
        facts = await self._reading.page(raw, page.charset)
        if facts is None:
            raise RemoteError(url.host or "", "the page cannot be read")
        return await self._complete(facts, page.url, languages)

    async def _complete(self, facts: PageFacts, url: URL, languages: str) -> ReadPage:
        """Add what the page's own oEmbed says to what Open Graph leaves open."""
        base = _joined(url, facts.base or "") or url
        properties = dict(facts.properties)
        images = _absolute(base, facts.images)
        endpoint = None if facts.oembed is None else _joined(base, facts.oembed)
        if endpoint is not None and not (images and "og:type" in properties):
            told = await self._oembed(endpoint, languages)
            if told is not None:
                properties = {**told.properties, **properties}
                images += _absolute(endpoint, [told.image] if told.image else [])
        return ReadPage(
            properties=properties, images=images + _absolute(base, facts.guessed_images)
        )

    async def _of_oembed(self, told: OEmbedAnswer, endpoint: URL) -> ReadPage:
        properties = dict(told.properties)
        if told.html is not None:
            facts = await self._reading.page(told.html.encode("utf-8", "replace"), "utf-8")
            if facts is not None and "og:description" in facts.properties:
                properties["og:description"] = facts.properties["og:description"]
        return ReadPage(
            properties=properties, images=_absolute(endpoint, [told.image] if told.image else [])
        )

    async def _oembed(self, endpoint: URL, languages: str) -> OEmbedAnswer | None:
        """Ask a site; None: it does not answer as it should, so that the page must do."""
        try:
            async with self._fetch.get(
                endpoint.with_fragment(None),
                headers=request_headers(languages, accept="application/json"),
                check=self._rules.check,
                limits=self._limits,
            ) as answer:
                if answer.status != 200:
                    return None
                return parse_oembed(await answer.beginning(MAX_ANSWER_BYTES))
        except (RemoteError, MatrixError):
            return None


def request_headers(languages: str, *, accept: str = _ACCEPT) -> dict[str, str]:
    """Return the headers with which pages are asked for."""
    return {
        "User-Agent": _USER_AGENT,
        "Accept": accept,
        "Accept-Language": languages,
        # What is here for certain; others have worse bombs.
        "Accept-Encoding": "gzip, deflate",
    }


def _may_be_html(page: FetchedPage) -> bool:
    # Without a header, or with one that says nothing, the content tells.
    return page.content_type in _HTML or page.content_type == "application/octet-stream"


def _named_by(url: URL) -> dict[str, str]:
    """Return the file name as a title."""
    name = clean(url.name)
    return {"og:title": name} if name else {}


def _absolute(base: URL, addresses: list[str]) -> list[URL]:
    joined = (_joined(base, address) for address in addresses)
    return [each for each in joined if each is not None]


def _joined(base: URL, address: str) -> URL | None:
    try:
        url = base.join(URL(address)).with_fragment(None)
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
