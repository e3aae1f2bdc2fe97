"""What an HTML page says about itself: Open Graph, Twitter cards, and what can be guessed.

Spec: client-server-api/#get_matrixclientv1mediapreview_url
"""

import re
from typing import Final

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

_MAX_TEXT: Final = 1000
_MAX_DESCRIPTION: Final = 500
_MAX_PROPERTIES: Final = 40
_MAX_IMAGES: Final = 5
# Smaller ones are dots that count readers, and buttons.
_MIN_IMAGE_SIDE: Final = 50
_NAME: Final = re.compile(r"og:[a-z0-9_:\-]{1,60}")
# Told anew about the image that is really there, or addresses that lead around this server.
_LEFT_OUT: Final = ("og:image", "og:video", "og:audio")
_TWITTER: Final = {
    "twitter:title": "og:title",
    "twitter:description": "og:description",
    "twitter:image:alt": "og:image:alt",
}
_IMAGE_NAMES: Final = (
    "og:image:secure_url",
    "og:image",
    "og:image:url",
    "twitter:image",
    "twitter:image:src",
)
_NO_TEXT: Final = frozenset(
    (
        "script", "style", "noscript", "template", "svg", "iframe", "object", "nav", "header",
        "footer", "aside", "form", "button", "select", "textarea", "head", "dialog", "menu",
    )
)  # fmt: skip
_PARAGRAPHS: Final = "article p, main p, [role=main] p, #content p, body p"
_OEMBED: Final = 'link[type="application/json+oembed"], link[type="text/json+oembed"]'


class PageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Properties by name, and addresses as they stand there, which may be relative.

    `guessed_images` are those that the page does not declare as its own.
    """

    properties: dict[str, str]
    images: list[str]
    guessed_images: list[str]
    base: str | None
    oembed: str | None


def facts_of(text: str) -> PageFacts:
    """Read a page; any text is one."""
    tree = LexborHTMLParser(text)
    declared = _declared(tree)
    properties = {
        name: value
        for name, value in declared.items()
        if _NAME.fullmatch(name) and not _is_left_out(name)
    }
    for source, name in _TWITTER.items():
        if source in declared:
            properties.setdefault(name, declared[source])
    _guess_texts(tree, properties, declared)
    return PageFacts(
        properties=dict(list(properties.items())[:_MAX_PROPERTIES]),
        images=_unique([declared[name] for name in _IMAGE_NAMES if name in declared]),
        guessed_images=_guessed_images(tree),
        base=_attribute(tree, "base[href]", "href"),
        oembed=_attribute(tree, _OEMBED, "href"),
    )


def clean(text: str, limit: int = _MAX_TEXT) -> str:
    """Return a text in one line, without control characters, shortened at a word."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * limit]).split())
    if len(words) <= limit:
        return words
    cut = words[:limit]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[limit // 2 :] else cut}…"


def _is_left_out(name: str) -> bool:
    return any(
        name == each or (name.startswith(f"{each}:") and name != "og:image:alt")
        for each in _LEFT_OUT
    )


def _declared(tree: LexborHTMLParser) -> dict[str, str]:
    """Return the first value of each name of `<meta>`."""
    found: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        attributes = node.attributes
        name = (attributes.get("property") or attributes.get("name") or "").strip().lower()
        value = clean(attributes.get("content") or "")
        if name and value:
            found.setdefault(name, value)
    return found


def _guess_texts(
    tree: LexborHTMLParser, properties: dict[str, str], declared: dict[str, str]
) -> None:
    if "og:title" not in properties:
        title = next(
            (text for query in ("title", "h1", "h2") if (text := _text_of_first(tree, query))), ""
        )
        if title:
            properties["og:title"] = title
    if "og:description" not in properties:
        description = declared.get("description") or declared.get("dc.description")
        description = description or _first_text(tree)
        if description:
            properties["og:description"] = description


def _text_of_first(tree: LexborHTMLParser, query: str) -> str:
    node = tree.css_first(query)
    return "" if node is None else clean(node.text(deep=True, separator=" "), 300)


def _first_text(tree: LexborHTMLParser) -> str:
    """Return paragraphs from the beginning, or without paragraphs whatever is written first."""
    parts: list[str] = []
    length = 0
    for node in tree.css(_PARAGRAPHS)[:50]:
        if _is_outside_text(node):
            continue
        part = clean(node.text(deep=True, separator=" "), _MAX_DESCRIPTION)
        # Several selectors may find one paragraph.
        if part in parts:
            continue
        parts.append(part)
        length += len(part)
        if length >= _MAX_DESCRIPTION:
            break
    text = clean(" ".join(parts), _MAX_DESCRIPTION)
    return text or _any_text(tree)


def _any_text(tree: LexborHTMLParser) -> str:
    body = tree.body
    if body is None:
        return ""
    tree.strip_tags(sorted(_NO_TEXT - {"head"}))
    return clean(body.text(deep=True, separator=" "), _MAX_DESCRIPTION)


def _is_outside_text(node: LexborNode) -> bool:
    parent = node.parent
    for _ in range(30):
        if parent is None:
            return False
        if parent.tag in _NO_TEXT:
            return True
        parent = parent.parent
    return False


def _guessed_images(tree: LexborHTMLParser) -> list[str]:
    found = [
        node.attributes.get("href") or ""
        for node in tree.css('link[rel~="image_src"], link[itemprop="image"]')
    ]
    found += [
        node.attributes.get("src") or ""
        for node in tree.css("img[src]")[:50]
        if _may_be_large(node) and not _is_outside_text(node)
    ]
    found += [
        node.attributes.get("href") or ""
        for node in tree.css('link[rel~="apple-touch-icon"], link[rel~="icon"]')
    ]
    return _unique(found)


def _may_be_large(node: LexborNode) -> bool:
    for side in ("width", "height"):
        given = (node.attributes.get(side) or "").removesuffix("px")
        if given.isdecimal() and len(given) < 6 and int(given) < _MIN_IMAGE_SIDE:
            return False
    return True


def _unique(addresses: list[str]) -> list[str]:
    stripped = (address.strip() for address in addresses)
    usable = (each for each in stripped if each and not each.startswith("data:"))
    return list(dict.fromkeys(usable))[:_MAX_IMAGES]


def _attribute(tree: LexborHTMLParser, query: str, name: str) -> str | None:
    node = tree.css_first(query)
    return None if node is None else (node.attributes.get(name) or "").strip() or None
