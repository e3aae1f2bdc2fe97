"""`mxc://` URIs: which server has a content and under which ID.

Spec: client-server-api/#matrix-content-mxc-uris
Spec: client-server-api/#content-repo-security-considerations
"""

import re
from typing import Final, NewType

import msgspec

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import ServerName, parse_server_name

MediaID = NewType("MediaID", str)

_SCHEME: Final = "mxc://"
# The specification names no length; this one is as long as other identifiers may be.
_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,255}")


class ContentUri(msgspec.Struct, frozen=True):
    """The two halves of an `mxc://` URI; `str()` puts them together."""

    origin: ServerName
    media_id: MediaID

    def __str__(self) -> str:
        return f"{_SCHEME}{self.origin}/{self.media_id}"


def parse_media_id(text: str) -> MediaID:
    """Check a media ID. Raises InvalidIdentifier."""
    if _MEDIA_ID.fullmatch(text) is None:
        raise InvalidIdentifier("not a media ID")
    return MediaID(text)


def parse_content_uri(text: str) -> ContentUri:
    """Check an `mxc://` URI without query or fragment. Raises InvalidIdentifier."""
    if not text.startswith(_SCHEME):
        raise InvalidIdentifier("not an mxc:// URI")
    origin, _, media_id = text[len(_SCHEME) :].partition("/")
    return ContentUri(parse_server_name(origin), parse_media_id(media_id))
