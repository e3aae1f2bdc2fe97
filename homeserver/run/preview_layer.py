"""URL previews, put together."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.web.page_fetch import PageFetch
from media_repo.previews.expiry import PreviewExpiry
from media_repo.previews.images import PreviewImages
from media_repo.previews.kept import KeptPreviews
from media_repo.previews.page_reading import PageReading
from media_repo.previews.preview import UrlPreviews
from media_repo.previews.reading import Reading
from media_repo.previews.url_rules import UrlRules
from media_repo.store import MediaStore
from media_repo.uploads import Uploads

_MINUTE_MS: Final = 60 * 1000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
# What is old is only removed: nobody waits for it.
_EXPIRY_SECONDS: Final = 3600.0


@contextlib.asynccontextmanager
async def url_previews(
    base: Foundation, store: MediaStore, uploads: Uploads
) -> AsyncIterator[UrlPreviews]:
    """Make what previews; its connections and its process end with the block."""
    settings = base.config.url_previews
    fetch = PageFetch(base.config.outgoing_http)
    reading, rules = Reading(), UrlRules(settings)
    expiry = PreviewExpiry(
        base.database,
        base.clock,
        ServerName(base.config.server.name),
        kept_ms=round(settings.kept_days * _DAY_MS),
    )
    base.tasks.every("url preview expiry", _EXPIRY_SECONDS, expiry.forget_old)
    try:
        yield UrlPreviews(
            rules=rules,
            pages=PageReading(fetch, rules, reading, settings),
            images=PreviewImages(fetch, rules, reading, store, uploads, settings),
            kept=KeptPreviews(
                base.database, base.clock, fresh_ms=round(settings.fresh_minutes * _MINUTE_MS)
            ),
            tasks=base.tasks,
            clock=base.clock,
            settings=settings,
        )
    finally:
        await fetch.close()
        await reading.close()
