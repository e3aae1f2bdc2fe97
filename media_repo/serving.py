"""From media to the answer that a client gets."""

from collections.abc import AsyncIterator

from homeserver.storage.media import MediaRow
from homeserver.web.answers import Content, Download, Redirect
from media_repo.headers import PRIVATE_CACHING, media_headers, safe_content_type
from media_repo.library import Opened
from media_repo.places import PlaceUnavailable
from media_repo.remote import ArrivingMedia
from media_repo.store import MediaStore

# As long as a slow client may take to follow the redirect.
_REDIRECT_SECONDS = 300


class Serving:
    """Makes answers of media."""

    def __init__(self, store: MediaStore, *, redirects: bool) -> None:
        """`redirects`: see the setting `media.object_store.redirects`."""
        self._store = store
        self._redirects = redirects

    def answer(
        self, opened: Opened, filename: str | None = None, *, caching: str = PRIVATE_CACHING
    ) -> Content | Download:
        """Return the answer for media; `filename` replaces its own."""
        if isinstance(opened, ArrivingMedia):
            head = opened.head
            headers = media_headers(head.content_type, filename or head.filename, caching=caching)
            return Download(head.content_type, opened.chunks, headers=headers)
        assert opened.sha256 is not None
        assert opened.byte_count is not None
        return self.stored(
            opened.sha256,
            opened.byte_count,
            safe_content_type(opened.content_type),
            filename or opened.filename,
            caching=caching,
        )

    def stored(
        self,
        sha256: bytes,
        byte_count: int,
        content_type: str,
        filename: str | None,
        *,
        caching: str = PRIVATE_CACHING,
    ) -> Content:
        """Return the answer for bytes of the store, whatever they are."""

        def read(start: int, end: int) -> AsyncIterator[bytes]:
            is_whole = (start, end) == (0, byte_count)
            pieces = self._store.read(sha256) if is_whole else self._store.read(sha256, start, end)
            return _exactly(pieces, end - start)

        return Content(
            content_type=content_type,
            length=byte_count,
            entity_tag=f'"{sha256.hex()}"',
            read=read,
            headers=media_headers(content_type, filename, caching=caching),
        )

    async def redirect(self, media: Opened) -> str | None:
        """Return where else the content can be read for a while; None: nowhere."""
        if not self._redirects or not isinstance(media, MediaRow) or media.sha256 is None:
            return None
        return await self._store.signed_url(media.sha256, _REDIRECT_SECONDS)


async def _exactly(pieces: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    """Yield pieces; break the answer off when a damaged file has not as many bytes as it should."""
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if sent > count:
            break
        yield piece
    if sent != count:
        raise PlaceUnavailable("a file of the store has not the size that it should have")


def redirect_to(url: str) -> Redirect:
    """Return a redirect that nobody keeps: its URL expires."""
    return Redirect(url, 307, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
