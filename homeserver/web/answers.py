"""What an endpoint answers, when it is not a struct that becomes JSON."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import msgspec

# Pages carry no script and are framed by nobody, unless an endpoint says otherwise.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_NO_HEADERS: Final[Mapping[str, str]] = {}


class Empty(msgspec.Struct, frozen=True):
    """The answer `{}`."""


class JsonBytes(msgspec.Struct, frozen=True):
    """JSON that is encoded already; sent as it is."""

    data: bytes
    status: int = 200


class Answer(msgspec.Struct, frozen=True):
    """Any status, headers and body; the headers name the content type."""

    status: int
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""


class Page(msgspec.Struct, frozen=True):
    """An HTML page with its content security policy."""

    html: str
    status: int = 200
    policy: str = PAGE_POLICY
    headers: Mapping[str, str] = _NO_HEADERS


class Redirect(msgspec.Struct, frozen=True):
    """A redirection; the location is a URL without control characters."""

    location: str
    status: int = 302
    headers: Mapping[str, str] = _NO_HEADERS


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A body of known size that clients may ask for in part, or only if they do not have it.

    `read` yields the bytes from a place up to but not with another.
    """

    content_type: str
    length: int
    # With its quotation marks; the same for the same bytes only.
    entity_tag: str
    read: Callable[[int, int], AsyncIterator[bytes]]
    headers: Mapping[str, str] = _NO_HEADERS


class Download(msgspec.Struct, frozen=True):
    """A body of any size, sent in pieces, none of them empty, as the source gives them.

    `length` in bytes when it is known, else the body goes out chunked. The source is closed
    when the client leaves early.
    """

    content_type: str
    chunks: AsyncIterator[bytes]
    length: int | None = None
    headers: Mapping[str, str] = _NO_HEADERS
    status: int = 200
