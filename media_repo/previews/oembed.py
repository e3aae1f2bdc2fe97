"""oEmbed: sites that tell about their pages in JSON. See https://oembed.com."""

from collections.abc import Sequence
from typing import Final

import msgspec
from yarl import URL

from homeserver.config.sections.url_previews import OEmbedProvider
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.glob import GlobSet, compile_globs
from media_repo.previews.page import clean

MAX_ANSWER_BYTES: Final = 256 * 1024
# What the kinds of answers are in Open Graph.
_TYPES: Final = {"video": "video.other", "photo": "website", "rich": "article", "link": "website"}


class OEmbedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a site tells about a page; `html` is that of others and is only read for its text."""

    properties: dict[str, str]
    image: str | None
    html: str | None


class OEmbedProviders:
    """The sites that are known to have oEmbed."""

    def __init__(self, providers: Sequence[OEmbedProvider]) -> None:
        self._providers: list[tuple[GlobSet, str]] = [
            (compile_globs(provider.urls), provider.endpoint) for provider in providers
        ]

    def endpoint_for(self, url: URL) -> URL | None:
        """Return where to ask about a page; None: nowhere."""
        place = f"{(url.host or '').removeprefix('www.')}{url.path_qs}"
        for patterns, endpoint in self._providers:
            if patterns.matches(place):
                return URL(endpoint).update_query({"url": str(url), "format": "json"})
        return None


def parse_oembed(raw: bytes) -> OEmbedAnswer | None:
    """Read an answer; None: it is none."""
    try:
        answer = decode_json(raw)
    except InvalidJson:
        return None
    if not isinstance(answer, dict) or answer.get("type") not in _TYPES:
        return None
    kind: str = answer["type"]
    properties = {"og:type": _TYPES[kind]}
    for source, name in (
        ("title", "og:title"),
        ("provider_name", "og:site_name"),
        ("author_name", "og:article:author"),
    ):
        value = answer.get(source)
        if isinstance(value, str) and clean(value):
            properties[name] = clean(value)
    if "og:title" not in properties and "og:article:author" in properties:
        properties["og:title"] = properties["og:article:author"]
    image = answer.get("url" if kind == "photo" else "thumbnail_url")
    html = answer.get("html") if kind == "rich" else None
    return OEmbedAnswer(
        properties=properties,
        image=image if isinstance(image, str) and image else None,
        html=html if isinstance(html, str) and html else None,
    )
