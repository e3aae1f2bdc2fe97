"""Finding the texts with the words of a search, best first, in bounded work."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.services.search_token import Key, Order, key_of_candidate
from homeserver.storage import search
from homeserver.storage.database import Database
from homeserver.storage.relations import Spans
from homeserver.storage.search import Candidate, Part, Question

# By rank, the best of about so many newest texts with the words are found.
MAX_RANKED: Final = 5_000
# How many texts the parts have that are read first; then twice as many, and so on.
_FIRST_TEXTS: Final = 4_000


class Found(NamedTuple):
    """What was found, best first, and about how much there is in total.

    `is_end`: there is nothing that comes later in the order.
    """

    candidates: Sequence[Candidate]
    total: int
    is_end: bool


class SearchCandidates:
    """Reads the index part by part, newest first, until there is enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, question: Question, visible: Mapping[int, Spans], *, order: Order, needed: int
    ) -> Found:
        """Find texts in rooms, given where each is visible; by time, the `needed` newest."""
        rooms = [room_nid for room_nid, spans in visible.items() if spans]
        if not (question.phrases and question.kinds and rooms):
            return Found([], 0, is_end=True)
        gathering = _BestRanked(MAX_RANKED) if order == "rank" else _Newest(needed)
        async with self._database.connection("search") as connection:
            parts = await search.parts_of_rooms(connection, rooms)
            for batch in _batches(parts):
                since_ts = gathering.since_ts
                if gathering.is_enough(batch[0].newest_ts):
                    break
                needed_parts = [p for p in batch if since_ts is None or p.newest_ts >= since_ts]
                # How this batch is read, and whether it is, depends on those before it.
                found, every = await search.find(
                    connection,
                    question,
                    needed_parts,
                    visible,
                    since_ts=since_ts,
                    limit=gathering.limit,
                )
                gathering.add(found)
                if since_ts is None:
                    gathering.count(every, sum(part.texts for part in batch))
        return gathering.found(sum(part.texts for part in parts))


class _Gathering(ABC):
    """Candidates of several batches, and how many there were in how many texts."""

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self._candidates: list[Candidate] = []
        self._counted = 0
        self._texts = 0

    @property
    @abstractmethod
    def since_ts(self) -> int | None:
        """What is older is not needed any more; None: everything is."""

    @abstractmethod
    def add(self, found: Sequence[Candidate]) -> None:
        """Take the candidates of a batch."""

    @abstractmethod
    def is_enough(self, newest_ts: int) -> bool:
        """Whether parts with nothing newer need not be read."""

    @abstractmethod
    def found(self, all_texts: int) -> Found:
        """Return what was gathered from parts that have so many texts."""

    def count(self, every: int, texts: int) -> None:
        """Take note of how many texts of a batch were found."""
        self._counted += every
        self._texts += texts

    def _total(self, all_texts: int) -> int:
        # Of what was not counted as much is taken to be found as of the rest.
        total = self._counted * all_texts // max(self._texts, 1)
        return max(total, len(self._candidates))


class _BestRanked(_Gathering):
    """About the newest of all, the best of them first."""

    since_ts = None

    def add(self, found: Sequence[Candidate]) -> None:
        self._candidates += found

    def is_enough(self, newest_ts: int) -> bool:
        return len(self._candidates) >= self.limit

    def found(self, all_texts: int) -> Found:
        best = sorted(self._candidates, key=_rank_key, reverse=True)
        return Found(best, self._total(all_texts), is_end=True)


class _Newest(_Gathering):
    """Exactly the newest of all, in order."""

    @property
    def since_ts(self) -> int | None:
        # Older ones of other parts do not count among the newest.
        is_full = len(self._candidates) == self.limit
        return self._candidates[-1].ts if is_full else None

    def add(self, found: Sequence[Candidate]) -> None:
        both = sorted([*self._candidates, *found], key=_time_key, reverse=True)
        self._candidates = both[: self.limit]

    def is_enough(self, newest_ts: int) -> bool:
        return self.since_ts is not None and newest_ts < self.since_ts

    def found(self, all_texts: int) -> Found:
        is_end = self._texts == all_texts and self._counted == len(self._candidates)
        return Found(self._candidates, self._total(all_texts), is_end)


def _rank_key(candidate: Candidate) -> Key:
    return key_of_candidate(candidate, "rank")


def _time_key(candidate: Candidate) -> Key:
    return key_of_candidate(candidate, "recent")


def _batches(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    first, wanted, texts = 0, _FIRST_TEXTS, 0
    for end, part in enumerate(parts, 1):
        texts += part.texts
        if texts >= wanted or end == len(parts):
            yield parts[first:end]
            first, wanted, texts = end, wanted * 2, 0
