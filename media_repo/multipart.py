"""What other servers get: a part of metadata and one of content.

Spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final

from homeserver.web.answers import Content, Download

# Cannot be guessed, so nobody can write content that ends a part early.
_BOUNDARY_BYTES: Final = 18


def multipart_of(content: Content) -> Download:
    """Wrap a content."""
    headers = {
        "Content-Type": content.content_type,
        "Content-Disposition": content.headers["Content-Disposition"],
    }
    return _multipart(headers, content.read(0, content.length), content.length)


def multipart_redirect(url: str) -> Download:
    """Say that the content is at a URL."""
    return _multipart({"Location": url}, None, 0)


def _multipart(
    headers: Mapping[str, str], chunks: AsyncIterator[bytes] | None, length: int
) -> Download:
    boundary = secrets.token_urlsafe(_BOUNDARY_BYTES)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    beginning = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n{lines}\r\n"
    ).encode("latin-1")
    end = f"\r\n--{boundary}--\r\n".encode()
    return Download(
        f"multipart/mixed; boundary={boundary}",
        _joined(beginning, chunks, end),
        len(beginning) + length + len(end),
        {"Cache-Control": "no-store"},
    )


async def _joined(
    beginning: bytes, chunks: AsyncIterator[bytes] | None, end: bytes
) -> AsyncIterator[bytes]:
    if chunks is not None:
        # What cannot be read at all is refused before anything is sent.
        first = await anext(chunks, b"")
        yield beginning + first
        async for piece in chunks:
            yield piece
    else:
        yield beginning
    yield end
