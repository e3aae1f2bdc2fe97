"""The images of previews, stored as media of this server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from yarl import URL

from homeserver.config.sections.url_previews import UrlPreviewsSection
from homeserver.errors import MatrixError, RemoteError
from homeserver.protocol.content_uri import ContentUri
from homeserver.web.page_fetch import FetchLimits, PageFetch
from media_repo.file_reading import read_file
from media_repo.places import PlaceUnavailable
from media_repo.previews.page_reading import request_headers
from media_repo.previews.pictures import Picture
from media_repo.previews.reading import Reading
from media_repo.previews.url_rules import UrlRules
from media_repo.spool import SpooledFile
from media_repo.steps import uri_of
from media_repo.store import MediaStore
from media_repo.uploads import MediaFacts, Uploads

# Of the images that a page names; most are there.
_ATTEMPTS: Final = 3


class PreviewImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is kept."""

    uri: ContentUri
    content_type: str
    byte_count: int
    width: int
    height: int

    @property
    def media_id(self) -> str:
        """Its ID on this server."""
        return self.uri.media_id


class PreviewImages:
    """Fetches images and keeps them."""

    def __init__(
        self,
        fetch: PageFetch,
        rules: UrlRules,
        reading: Reading,
        store: MediaStore,
        uploads: Uploads,
        settings: UrlPreviewsSection,
    ) -> None:
        self._fetch = fetch
        self._rules = rules
        self._reading = reading
        self._store = store
        self._uploads = uploads
        self._limits = FetchLimits(settings.timeout_ms / 1000, settings.max_page_bytes)

    async def first_of(self, urls: Sequence[URL], languages: str) -> PreviewImage | None:
        """Keep the first of some images that can be had and shown; None: none of them."""
        for url in urls[:_ATTEMPTS]:
            # One after the other, because nearly always the first is good.
            try:
                image = await self._keep(url, languages)
            except (RemoteError, MatrixError, PlaceUnavailable):
                continue
            if image is not None:
                return image
        return None

    async def _keep(self, url: URL, languages: str) -> PreviewImage | None:
        file = await self._received(url, languages)
        if file is None:
            return None
        try:
            picture = await self._reading.picture(file.path)
            return None if picture is None else await self._kept(file.path, picture)
        finally:
            await self._store.spool.discard(file.path)

    async def _received(self, url: URL, languages: str) -> SpooledFile | None:
        async with self._fetch.get(
            url,
            headers=request_headers(languages, accept="image/*"),
            check=self._rules.check,
            limits=self._limits,
        ) as answer:
            if answer.status != 200:
                return None
            return await self._store.spool.receive(answer.chunks(), self._limits.max_bytes)

    async def _kept(self, path: Path, picture: Picture) -> PreviewImage:
        kept = await self._uploads.keep(
            read_file(path, 0, None),
            MediaFacts(content_type=picture.content_type),
            max_bytes=self._limits.max_bytes,
        )
        return PreviewImage(
            uri=uri_of(kept),
            content_type=picture.content_type,
            byte_count=kept.byte_count or 0,
            width=picture.width,
            height=picture.height,
        )
