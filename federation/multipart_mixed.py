"""Reading `multipart/mixed` as it comes, without holding more than a piece (RFC 2046, 5.1)."""

import re
from collections.abc import AsyncIterator, Callable
from email.message import Message
from typing import Final

from homeserver.errors import RemoteError

_MAX_HEADER_BYTES: Final = 16 * 1024
# What stands before the first boundary, or in a part that nobody reads.
_MAX_SKIPPED_BYTES: Final = 64 * 1024
_BOUNDARY: Final = re.compile(r"[\x20-\x7e]{1,70}")
_LINE_END: Final = b"\r\n"


class MultipartMixed:
    """The parts of one body, in order. Every method raises what `refuse` makes of a reason."""

    def __init__(
        self,
        content_type: str,
        chunks: AsyncIterator[bytes],
        refuse: Callable[[str], RemoteError],
    ) -> None:
        self._refuse = refuse
        self._chunks = chunks
        # As if a line had just ended: the first boundary may begin the body.
        self._buffer = bytearray(_LINE_END)
        self._delimiter = _LINE_END + b"--" + self._boundary_in(content_type)

    async def next_part(self) -> dict[str, str]:
        """Go to the next part, past what is left of this one; return its headers, lower-case."""
        await self._skip_to_delimiter()
        if (await self._take(2)) == b"--":
            raise self._refuse("has too few parts")
        return self._parsed(await self._take_headers())

    async def skip_part(self) -> None:
        """Go to the next part, whose headers and body nobody needs."""
        await self.next_part()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body of the part, up to its delimiter."""
        while True:
            place = self._buffer.find(self._delimiter)
            if place >= 0:
                if place:
                    yield bytes(self._buffer[:place])
                del self._buffer[:place]
                return
            # The delimiter may have begun at the end of what is here.
            safe = len(self._buffer) - len(self._delimiter) + 1
            if safe > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            await self._more()

    async def _skip_to_delimiter(self) -> None:
        skipped = 0
        async for piece in self.body():
            skipped += len(piece)
            if skipped > _MAX_SKIPPED_BYTES:
                raise self._refuse("has too much besides the content")
        del self._buffer[: len(self._delimiter)]

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        return bytes(self._buffer[:count])

    async def _take_headers(self) -> bytes:
        """Take everything up to the empty line; what follows the boundary ends its line first."""
        while (end := self._buffer.find(_LINE_END * 2)) < 0:
            if len(self._buffer) > _MAX_HEADER_BYTES:
                raise self._refuse("has a part with too many headers")
            await self._more()
        if end > _MAX_HEADER_BYTES:
            raise self._refuse("has a part with too many headers")
        headers = bytes(self._buffer[:end])
        del self._buffer[: end + 2 * len(_LINE_END)]
        # A part may have no body at all: then the delimiter's line end has just been taken.
        if await self._take(len(self._delimiter) - 2) == self._delimiter[2:]:
            self._buffer[:0] = _LINE_END
        return headers

    def _parsed(self, raw: bytes) -> dict[str, str]:
        headers: dict[str, str] = {}
        # The first line is what is left of the boundary's.
        for line in raw.split(_LINE_END)[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise self._refuse("has a header that is none")
            headers.setdefault(
                name.decode("latin-1").strip().lower(), value.decode("utf-8", "replace").strip()
            )
        return headers

    async def _more(self) -> None:
        chunk = await anext(self._chunks, b"")
        if not chunk:
            raise self._refuse("ends in the middle of a part")
        self._buffer += chunk

    def _boundary_in(self, content_type: str) -> bytes:
        message = Message()
        message["Content-Type"] = content_type[:_MAX_HEADER_BYTES].replace("\n", " ")
        boundary = message.get_boundary()
        if message.get_content_type() != "multipart/mixed" or boundary is None:
            raise self._refuse("is not multipart/mixed with a boundary")
        if not _BOUNDARY.fullmatch(boundary):
            raise self._refuse("has no proper boundary")
        return boundary.encode()
