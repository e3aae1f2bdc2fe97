"""Previews of URLs, each made once for all who ask.

Spec: client-server-api/#get_matrixclientv1mediapreview_url
"""

import asyncio
import re
from typing import Final

import msgspec
from yarl import URL

from homeserver.config.sections.url_previews import UrlPreviewsSection
from homeserver.errors import Forbidden, MatrixError, RemoteError
from homeserver.protocol.json_types import JsonObject
from homeserver.storage.database import DatabaseUnavailable
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks
from media_repo.previews.images import PreviewImage, PreviewImages
from media_repo.previews.kept import KeptPreviews, MadePreview, key_of
from media_repo.previews.page_reading import PageReading, ReadPage
from media_repo.previews.url_rules import UrlRules

log = get_logger(__name__)

_LANGUAGES: Final = re.compile(r"[A-Za-z0-9\-*;=., ]{1,200}")
# Pages and images that this node fetches at the same time.
_AT_ONCE: Final = 20


class UrlPreviews:
    """Answers what clients show below a link."""

    def __init__(
        self,
        *,
        rules: UrlRules,
        pages: PageReading,
        images: PreviewImages,
        kept: KeptPreviews,
        tasks: Tasks,
        clock: Clock,
        settings: UrlPreviewsSection,
    ) -> None:
        self._rules = rules
        self._pages = pages
        self._images = images
        self._kept = kept
        self._tasks = tasks
        self._clock = clock
        self._is_enabled = settings.enabled
        self._languages = ", ".join(settings.accept_languages) or "*"
        self._making: dict[bytes, asyncio.Task[MadePreview | None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def of(self, text: str, *, ts: int | None, accept_language: str) -> bytes:
        """Return the preview of a URL as JSON, as it was at a time or as it is now.

        Raises InvalidParam, Forbidden; MatrixError 502: the page cannot be had.
        """
        if not self._is_enabled:
            raise Forbidden("URL previews are turned off on this server")
        url = self._rules.parse(text)
        languages = accept_language.strip()
        if not _LANGUAGES.fullmatch(languages):
            languages = self._languages
        key = key_of(str(url), languages)
        now_ts = self._clock.now_ms()
        made = await self._kept.find(key, now_ts if ts is None else min(ts, now_ts))
        if made is None and ts is not None:
            made = await self._kept.find(key, now_ts)
        if made is None:
            made = await self._make_once(key, url, languages)
        if made.preview is None:
            raise _anew(made.refusal)
        return made.preview

    async def _make_once(self, key: bytes, url: URL, languages: str) -> MadePreview:
        making = self._making.get(key)
        if making is None:
            making = self._tasks.spawn("url preview", self._make(key, url, languages))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        # Who stops waiting does not stop it for the others.
        made = await asyncio.shield(making)
        if made is None:
            raise _unavailable()
        return made

    async def _make(self, key: bytes, url: URL, languages: str) -> MadePreview:
        try:
            async with self._slots:
                page = await self._pages.read(url, languages)
                image = await self._images.first_of(page.images, languages)
            preview = msgspec.json.encode(_answer(page, image))
            image_id = None if image is None else image.media_id
            return await self._kept.keep(key, str(url), preview, image_id)
        except RemoteError as error:
            log.info("no preview", host=url.host, reason=error.reason, status=error.status)
            return self._kept.keep_failure(key, _unavailable())
        except DatabaseUnavailable:
            raise
        except MatrixError as refusal:
            return self._kept.keep_failure(key, refusal)


def _answer(page: ReadPage, image: PreviewImage | None) -> JsonObject:
    answer: JsonObject = dict(page.properties)
    if image is None:
        answer.pop("og:image:alt", None)
        return answer
    return {
        **answer,
        "og:image": str(image.uri),
        "og:image:type": image.content_type,
        "og:image:width": image.width,
        "og:image:height": image.height,
        "matrix:image:size": image.byte_count,
    }


def _anew(refusal: MatrixError | None) -> MatrixError:
    # What is kept must not collect a traceback for each of those who ask.
    if refusal is None:
        return _unavailable()
    return MatrixError(refusal.status, refusal.errcode, refusal.error)


def _unavailable() -> MatrixError:
    # One text for all reasons: which hosts and ports of a network answer is nobody's business.
    return MatrixError(502, "M_UNKNOWN", "The page cannot be previewed")
