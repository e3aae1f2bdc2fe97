"""Searching for messages, names and topics. Spec: client-server-api/#server-side-search"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.visible_positions import visible_positions
from homeserver.services.event_filters import RecordPredicate, record_predicate
from homeserver.services.search_answer import Result, SearchAnswers
from homeserver.services.search_candidates import Found, SearchCandidates
from homeserver.services.search_groups import Grouping, ResultGroups
from homeserver.services.search_request import SearchRequest
from homeserver.services.search_texts import SEARCH_KEYS, texts_in
from homeserver.services.search_token import SearchToken, key_of_candidate, token_after
from homeserver.services.search_words import SearchTerm, highlights, parse_term
from homeserver.storage import events, relations, room_summary
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.storage.search import Candidate, Question
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# Every result may come with its surroundings.
MAX_RESULTS: Final = 100
# How many texts with the words are held against a filter that asks about more than their kind
# and sender, before the client is given what there is: it goes on from `next_batch`.
_MAX_EXAMINED: Final = 1_000
_BATCH: Final = 100
# Texts of the last moment may be hidden, redacted or filtered out: by time, more are looked for.
_SPARE: Final = 100
_BEFORE_NOTHING: Final = (2**63 - 1, 2**63 - 1)


class SearchPage(NamedTuple):
    """Results, best or newest first; `next_batch` None: there are no more."""

    results: list[Result]
    total: int
    highlights: list[str]
    state: dict[RoomID, list[bytes]] | None
    groups: ResultGroups | None
    next_batch: SearchToken | None


class _Results(NamedTuple):
    """Results with their events, in order, and the last candidate that was looked at."""

    chosen: Sequence[tuple[Candidate, EventRecord]]
    last: Candidate | None
    rest: Sequence[Candidate]


class Search:
    """Finds what users have seen or could have seen: rooms they left are searched too.

    The index follows the log: what was written a moment ago may be missing. Rooms that are
    end-to-end encrypted now are left out.
    """

    def __init__(
        self,
        database: Database,
        access: Access,
        personal_rules: PersonalRuleIndex,
        candidates: SearchCandidates,
        answers: SearchAnswers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._personal_rules = personal_rules
        self._candidates = candidates
        self._answers = answers
        self._clock = clock

    async def search(self, requester: Requester, wanted: SearchRequest) -> SearchPage:
        """Return a page of results.

        The count is of everything that was found with the words, and estimated where not all of
        it was read; a filter that asks about more than types and senders does not lower it.
        """
        term = parse_term(wanted.term)
        rooms = await self._rooms(requester.user_id, wanted)
        ignored = await self._ignored_by(requester.user_id)
        limit = wanted.filter.bounded_limit(maximum=MAX_RESULTS)
        found = await self._candidates.find(
            _question(term, wanted, ignored),
            {nid: visible_positions(each.view, each.timeline_upto) for nid, each in rooms.items()},
            order=wanted.order,
            needed=limit + _SPARE,
        )
        results = await self._results(found, wanted, rooms, ignored, limit)
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        shown = await self._answers.results(viewer, wanted.context, rooms, results.chosen)
        state = None
        if wanted.include_state:
            is_lazy = wanted.filter.lazy_load_members
            state = await self._answers.state(viewer, rooms, shown, is_lazy=is_lazy)
        total = found.total if wanted.start is None else wanted.start.total
        grouping = Grouping(results.chosen, results.rest, found.is_end, rooms, wanted.order, total)
        return SearchPage(
            shown.results,
            total,
            highlights(term, _texts(results)),
            state,
            {key: grouping.by(key) for key in wanted.group_by} or None,
            None if found.is_end and not results.rest else _next_batch(results, wanted, total),
        )

    async def _rooms(self, user_id: UserID, wanted: SearchRequest) -> dict[int, RoomAccess]:
        matcher = EventMatcher(wanted.filter)
        if matcher.matches_nothing:
            return {}
        group = wanted.start.group if wanted.start is not None else None
        only = group.value if group is not None and group.key == "room_id" else None

        def is_wanted(room_id: RoomID) -> bool:
            return matcher.admits_room(room_id) and only in (None, room_id)

        accesses = await self._access.to_read_all(user_id, is_wanted)
        nids = [access.room_nid for access in accesses]
        async with self._database.connection("search") as connection:
            encrypted = {
                row.room_nid
                for row in await room_summary.state_contents(
                    connection, nids, ("m.room.encryption",)
                )
            }
        return {each.room_nid: each for each in accesses if each.room_nid not in encrypted}

    async def _ignored_by(self, user_id: UserID) -> Collection[UserID]:
        personal = await self._personal_rules.of_user(user_id)
        return personal.ignored if personal is not None else frozenset()

    async def _results(
        self,
        found: Found,
        wanted: SearchRequest,
        rooms: Mapping[int, RoomAccess],
        ignored: Collection[UserID],
        limit: int,
    ) -> _Results:
        """Take the first candidates that are still there and pass the filter."""
        rest = found.candidates
        if wanted.start is not None:
            key = wanted.start.key
            rest = [each for each in rest if key_of_candidate(each, wanted.order) < key]
        matcher = EventMatcher(wanted.filter)
        passes = record_predicate(matcher, ignored)
        chosen: list[tuple[Candidate, EventRecord]] = []
        looked_at = 0
        while looked_at < min(len(rest), _MAX_EXAMINED) and len(chosen) < limit:
            # How many more are needed depends on how many of these pass.
            batch = rest[looked_at : looked_at + max(_BATCH, limit)]
            records = await self._passing(matcher, passes, batch, rooms)
            for candidate in batch:
                looked_at += 1
                if candidate.event_nid in records:
                    chosen.append((candidate, records[candidate.event_nid]))
                    if len(chosen) == limit:
                        break
        last = rest[looked_at - 1] if looked_at else None
        return _Results(chosen, last, rest[looked_at:])

    async def _passing(
        self,
        matcher: EventMatcher,
        passes: RecordPredicate,
        batch: Sequence[Candidate],
        rooms: Mapping[int, RoomAccess],
    ) -> dict[int, EventRecord]:
        async with self._database.connection("search") as connection:
            records = await events.events_by_nid(connection, [each.event_nid for each in batch])
            related: Mapping[EventID, Sequence[tuple[UserID, str]]] = {}
            if matcher.needs_relations:
                related = await relations.related_by(
                    connection, [record.event_id for record in records.values()]
                )
        return {
            nid: record
            for nid, record in records.items()
            if record.redaction_id is None
            and rooms[record.room_nid].view.may_see(record)
            and passes(record)
            and matcher.matches_relations(related.get(record.event_id, ()))
        }


def _question(term: SearchTerm, wanted: SearchRequest, ignored: Collection[UserID]) -> Question:
    chosen = wanted.filter
    types = EventMatcher(RoomEventFilter(types=chosen.types, not_types=chosen.not_types))
    keys = [SEARCH_KEYS[name] for name in wanted.keys]
    senders = None if isinstance(chosen.senders, msgspec.UnsetType) else set(chosen.senders)
    before = _BEFORE_NOTHING
    if wanted.start is not None:
        if wanted.order == "recent":
            before = wanted.start.ts, wanted.start.event_nid
        group = wanted.start.group
        if group is not None and group.key == "sender":
            alone = {UserID(group.value)}
            senders = alone if senders is None else senders & alone
    return Question(
        term.phrases,
        [key.kind for key in keys if types.matches(key.event_type)],
        senders,
        chosen.not_senders,
        ignored,
        before,
    )


def _texts(results: _Results) -> Iterator[str]:
    for _, record in results.chosen:
        yield from texts_in(record.type, record.core, None)


def _next_batch(results: _Results, wanted: SearchRequest, total: int) -> SearchToken | None:
    if results.last is None:
        return None
    group = wanted.start.group if wanted.start is not None else None
    return token_after(results.last, wanted.order, total, group)
