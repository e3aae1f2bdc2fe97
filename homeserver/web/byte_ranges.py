"""Which part of a content a client wants, and whether it has it already (RFC 9110)."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

from homeserver.errors import MatrixError
from homeserver.web.answers import Answer, Content, Download

# One range. A client that asks for several gets everything, as the RFC permits.
_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)
_NO_PIECES: Final[tuple[bytes, ...]] = ()
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


class RangeNotSatisfiable(MatrixError):
    """The client asks for bytes behind the end."""

    def __init__(self, length: int) -> None:
        super().__init__(416, "M_UNKNOWN", f"The content has {length} bytes")
        self._length = length

    @property
    def headers(self) -> Mapping[str, str]:
        """Tell the client how long the content is."""
        return {"Content-Range": f"bytes */{self._length}", "Accept-Ranges": "bytes"}


def selected(content: Content, method: str, headers: Mapping[str, str]) -> Download | Answer:
    """Return what to send of a content to whom the headers of a request came from.

    Raises RangeNotSatisfiable.
    """
    common = {**content.headers, "ETag": content.entity_tag, "Accept-Ranges": "bytes"}
    if _has_it(headers.get("If-None-Match"), content.entity_tag):
        return Answer(304, common)
    wanted = None
    if method == "GET" and _may_range(headers.get("If-Range"), content.entity_tag):
        wanted = wanted_range(headers.get("Range"), content.length)
    if wanted is None:
        return _download(content, 200, common, (0, content.length))
    start, end = wanted
    common["Content-Range"] = f"bytes {start}-{end - 1}/{content.length}"
    return _download(content, 206, common, wanted)


def wanted_range(header: str | None, length: int) -> tuple[int, int] | None:
    """Return the range that a `Range` header asks for, its end not included; None: everything.

    Raises RangeNotSatisfiable. Whatever is no range at all is ignored, as the RFC wants it.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(length - int(last), 0), length
    else:
        start = int(first)
        end = min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(length)
    return start, end


def _download(
    content: Content, status: int, headers: Mapping[str, str], part: tuple[int, int]
) -> Download:
    start, end = part
    chunks = content.read(start, end) if end > start else _nothing()
    return Download(content.content_type, chunks, end - start, headers, status)


async def _nothing() -> AsyncIterator[bytes]:
    for piece in _NO_PIECES:
        yield piece


def _has_it(if_none_match: str | None, entity_tag: str) -> bool:
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or entity_tag in _TAG.findall(if_none_match)


def _may_range(if_range: str | None, entity_tag: str) -> bool:
    # A date says nothing here, and a weak tag is not good enough for parts.
    return if_range is None or if_range.strip() == entity_tag
