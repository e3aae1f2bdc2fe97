"""Keeping the index of texts up to date: a follower of the log.

An event has one text: that of its newest edit, or its own. Edits are not found themselves.
Encrypted events have none.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

from homeserver.services.search_texts import key_of, texts_in
from homeserver.services.search_words import words_of_text
from homeserver.storage import search
from homeserver.storage.database import Database, Transaction
from homeserver.storage.search import Part, StoredText, TextRow
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.follower import Stretch
from homeserver.telemetry.clock import Clock

FOLLOWER_NAME: Final = "search"
# Small, and a search by time reads few texts of each busy room; large, and there are few parts to
# look into where a word is rare, and fewer words that are kept once for each part.
PART_SIZE: Final = 1_024
# Taken along with what the log tells, which keeps the transaction short.
_MAX_BACKLOG: Final = 1_000


class SearchIndex:
    """Writes the words of events down."""

    def __init__(self, database: Database, clock: Clock, *, part_size: int = PART_SIZE) -> None:
        self._database = database
        self._clock = clock
        self._part_size = part_size

    def concerns(self, entry: LogEntry) -> bool:
        """Whether an entry may bring, change or remove a text."""
        return isinstance(entry, EventEntry) and (
            entry.redaction is not None
            or key_of(entry.record.type, entry.record.state_key) is not None
        )

    async def handle(self, stretch: Stretch) -> None:
        """Write the texts of what the entries tell of, as they are now."""
        told = [entry for entry in stretch.entries if isinstance(entry, EventEntry)]
        redacted = {entry.redaction.event_nid for entry in told if entry.redaction is not None}
        brought = {entry.record.event_nid for entry in told}
        async with stretch.done() as tx:
            await self._write(tx, brought, redacted)

    async def add_history(self, event_nids: Collection[int]) -> None:
        """Index backfilled events at once; by itself that happens with the next message.

        Doing it again changes nothing.
        """
        async with self._database.transaction("search_index") as tx:
            await self._write(tx, set(event_nids), set())

    async def _write(self, tx: Transaction, brought: set[int], redacted: set[int]) -> None:
        await search.lock_index(tx)
        brought = brought | set(await search.take_backlog(tx, _MAX_BACKLOG))
        changed = brought | redacted
        changed.update(await search.originals_of(tx, brought))
        if redacted:
            changed.update(await search.texts_from(tx, redacted))
        stored = await search.texts_of(tx, changed)
        rows = await self._rows(tx, stored)
        # Most events are new: they have nothing to remove.
        gone = changed - {row.event_nid for row in rows}
        if gone:
            await search.forget_texts(tx, gone)
        await search.put_texts(tx, rows)

    async def _rows(self, tx: Transaction, stored: Sequence[StoredText]) -> list[TextRow]:
        rooms = {text.room_nid for text in stored}
        parts = _Parts(await search.newest_parts(tx, rooms), self._part_size)
        now_ms = self._clock.now_ms()
        rows = []
        for text in stored:
            words = words_of_text(texts_in(text.type, text.core, text.edit_core))
            key = key_of(text.type, text.state_key)
            if key is None or not words:
                continue
            part_nid = await parts.place(tx, text.room_nid)
            rows.append(
                TextRow(
                    text.event_nid,
                    part_nid,
                    text.pos,
                    # Nobody stays on top by a date in the future.
                    min(text.origin_server_ts, now_ms),
                    text.edit_nid,
                    text.edit_pos,
                    key.kind,
                    text.sender,
                    words,
                )
            )
        return rows


class _Parts:
    """The parts into which the texts of a batch go."""

    def __init__(self, newest: dict[int, Part], size: int) -> None:
        self._newest = newest
        self._size = size
        self._placed: dict[int, int] = defaultdict(int)

    async def place(self, tx: Transaction, room_nid: int) -> int:
        """Return the part for one more text of a room."""
        part = self._newest.get(room_nid)
        if part is None or part.texts + self._placed[part.part_nid] >= self._size:
            part = self._newest[room_nid] = await search.begin_part(tx, room_nid)
        self._placed[part.part_nid] += 1
        return part.part_nid
