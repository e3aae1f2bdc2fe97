"""Previews that have been made: in memory, and in a table for all nodes and for later."""

import hashlib
from collections import OrderedDict
from typing import Final

import msgspec

from homeserver.errors import MatrixError
from homeserver.storage import url_previews
from homeserver.storage.database import Database
from homeserver.storage.url_previews import PreviewRow
from homeserver.telemetry.clock import Clock

# About 2 kB each.
_MAX_IN_MEMORY: Final = 1_000
# A page that fails is not fetched again for each of those who look at the message.
_FAILURE_MS: Final = 60_000


class MadePreview(msgspec.Struct, frozen=True, kw_only=True):
    """A preview as JSON, or why there is none, and when that was found out."""

    preview: bytes | None
    refusal: MatrixError | None
    fetched_ts: int
    expires_ts: int

    def holds_at(self, ts: int) -> bool:
        """Whether this is what the page says at a time."""
        return self.fetched_ts <= ts < self.expires_ts


class KeptPreviews:
    """Finds and keeps previews by URL and languages."""

    def __init__(self, database: Database, clock: Clock, *, fresh_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._fresh_ms = fresh_ms
        # The newest of each key, those used last at the end.
        self._newest: OrderedDict[bytes, MadePreview] = OrderedDict()

    async def find(self, key: bytes, ts: int) -> MadePreview | None:
        """Return what a page said at a time, in ms since 1970; None: it is not known."""
        newest = self._newest.get(key)
        if newest is not None and newest.holds_at(ts):
            self._newest.move_to_end(key)
            return newest
        async with self._database.connection("url_previews") as connection:
            row = await url_previews.find(connection, key, ts)
        if row is None:
            return None
        found = MadePreview(
            preview=row.preview, refusal=None, fetched_ts=row.fetched_ts, expires_ts=row.expires_ts
        )
        self._remember(key, found)
        return found

    async def keep(self, key: bytes, url: str, preview: bytes, image_id: str | None) -> MadePreview:
        """Keep what a page says now."""
        now_ts = self._clock.now_ms()
        made = MadePreview(
            preview=preview, refusal=None, fetched_ts=now_ts, expires_ts=now_ts + self._fresh_ms
        )
        row = PreviewRow(key, now_ts, made.expires_ts, url, preview, image_id)
        async with self._database.transaction("url_previews") as tx:
            await url_previews.insert(tx, row)
        self._remember(key, made)
        return made

    def keep_failure(self, key: bytes, refusal: MatrixError) -> MadePreview:
        """Keep for a while, on this node, that a page gives no preview."""
        now_ts = self._clock.now_ms()
        expires_ts = now_ts + min(_FAILURE_MS, self._fresh_ms)
        failed = MadePreview(
            preview=None, refusal=refusal, fetched_ts=now_ts, expires_ts=expires_ts
        )
        self._remember(key, failed)
        return failed

    def _remember(self, key: bytes, made: MadePreview) -> None:
        known = self._newest.get(key)
        if known is None or known.fetched_ts <= made.fetched_ts:
            self._newest[key] = made
            self._newest.move_to_end(key)
        if len(self._newest) > _MAX_IN_MEMORY:
            self._newest.popitem(last=False)


def key_of(url: str, languages: str) -> bytes:
    """Return the key of a URL, asked for in some languages."""
    return hashlib.sha256(f"{languages}\n{url}".encode("utf-8", "replace")).digest()
