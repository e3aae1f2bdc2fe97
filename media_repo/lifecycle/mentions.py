"""Which media an event names."""

import re
from collections.abc import Iterable
from typing import Final

from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.content_uri import ContentUri, parse_content_uri
from homeserver.protocol.errors import InvalidIdentifier, InvalidJson
from homeserver.protocol.json_types import JsonValue

SCHEME: Final = b"mxc://"
# Galleries and packs of images have hundreds; an event of 64 KiB has room for 2,000.
_MAX_MENTIONS: Final = 2_000
_MENTION: Final = re.compile(rb"mxc://[A-Za-z0-9.:\[\]\-]{1,255}/[A-Za-z0-9_\-]{1,255}")
# Messages and stickers, their thumbnails, encrypted files in open rooms, avatars of rooms and
# members. Spec: client-server-api/#extensions-to-mroommessage-msgtypes
_ATTACHED: Final = (
    ("url",),
    ("file", "url"),
    ("info", "thumbnail_url"),
    ("info", "thumbnail_file", "url"),
    ("avatar_url",),
)


def mentioned_in(core: bytes) -> set[ContentUri]:
    """Return all media that the text of an event names, wherever it does.

    Canonical JSON escapes nothing in a URI, so that the bytes can be searched.
    """
    found = {match.decode("ascii") for match in _MENTION.findall(core)}
    return _parsed(sorted(found)[:_MAX_MENTIONS])


def attached_to(core: bytes) -> set[ContentUri]:
    """Return the media that an event is there for: its file, its thumbnail, its avatar."""
    try:
        event = decode_json(core)
    except InvalidJson:
        return set()
    content = _member(event, "content")
    found = []
    for place in (content, _member(content, "m.new_content")):
        for path in _ATTACHED:
            value = place
            for name in path:
                value = _member(value, name)
            if isinstance(value, str):
                found.append(value)
    return _parsed(found)


def _member(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, dict) else None


def _parsed(texts: Iterable[str]) -> set[ContentUri]:
    uris = set()
    for text in texts:
        try:
            uris.add(parse_content_uri(text))
        except InvalidIdentifier:
            continue
    return uris
