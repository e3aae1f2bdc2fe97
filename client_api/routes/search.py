"""Searching. Spec: client-server-api/#server-side-search"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.room_answers import raw_events
from homeserver.errors import InvalidParam
from homeserver.protocol.filters import parse_room_event_filter
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.room_tokens import token_of_place
from homeserver.services.search import Search, SearchPage
from homeserver.services.search_answer import Result, ResultContext
from homeserver.services.search_context import ContextRequest
from homeserver.services.search_groups import ResultGroup
from homeserver.services.search_request import SearchRequest
from homeserver.services.search_texts import SEARCH_KEYS
from homeserver.services.search_token import (
    GroupKey,
    Order,
    SearchToken,
    parse_search_token,
    token_text,
)
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# There are three keys, and two things to group by.
_MAX_NAMES: Final = 10


class SearchQuery(Query, frozen=True, kw_only=True):
    """Where to go on."""

    next_batch: str = ""


class GroupWish(msgspec.Struct, frozen=True):
    """What to group by."""

    key: GroupKey


class Groupings(msgspec.Struct, frozen=True):
    """How to group the results; each grouping is of all of them."""

    group_by: Annotated[tuple[GroupWish, ...], Meta(max_length=_MAX_NAMES)] = ()


class RoomEventsCriteria(msgspec.Struct, frozen=True, kw_only=True):
    """What to search for in events."""

    search_term: str
    keys: Annotated[
        tuple[Literal["content.body", "content.name", "content.topic"], ...],
        Meta(max_length=_MAX_NAMES),
    ] = ()
    filter: JsonObject = msgspec.field(default_factory=dict)
    order_by: Order = "rank"
    event_context: ContextRequest | UnsetType = UNSET
    include_state: bool = False
    groupings: Groupings = Groupings()

    def request(self, start: SearchToken | None) -> SearchRequest:
        """Return the request. Raises InvalidFilter."""
        return SearchRequest(
            term=self.search_term,
            keys=self.keys or tuple(SEARCH_KEYS),
            filter=parse_room_event_filter(self.filter),
            order=self.order_by,
            context=None if self.event_context is UNSET else self.event_context,
            include_state=self.include_state,
            group_by=[wish.key for wish in self.groupings.group_by],
            start=start,
        )


class Categories(msgspec.Struct, frozen=True):
    """What to search in; categories that are not specified are not searched."""

    room_events: RoomEventsCriteria | UnsetType = UNSET


class SearchBody(Body, frozen=True):
    """A search."""

    search_categories: Categories


class ContextPart(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds a result."""

    start: str
    end: str
    events_before: list[msgspec.Raw]
    events_after: list[msgspec.Raw]
    profile_info: dict[str, JsonObject] | UnsetType = UNSET


class ResultPart(msgspec.Struct, frozen=True, kw_only=True):
    """A result."""

    rank: float
    result: msgspec.Raw
    context: ContextPart | UnsetType = UNSET


class GroupPart(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a group, and where it goes on."""

    order: int
    results: list[EventID]
    next_batch: str | UnsetType = UNSET


class RoomEventsResults(msgspec.Struct, frozen=True, kw_only=True):
    """A page of results."""

    count: int
    highlights: list[str]
    results: list[ResultPart]
    state: dict[RoomID, list[msgspec.Raw]] | UnsetType = UNSET
    groups: dict[str, dict[str, GroupPart]] | UnsetType = UNSET
    next_batch: str | UnsetType = UNSET


class ResultCategories(msgspec.Struct, frozen=True):
    """The results by category."""

    room_events: RoomEventsResults | UnsetType = UNSET


class SearchAnswer(msgspec.Struct, frozen=True):
    """What was found."""

    search_categories: ResultCategories


class SearchRoutes:
    """Searching through messages."""

    def __init__(self, search: Search) -> None:
        self._search = search

    @endpoint(
        "POST",
        CLIENT_V3 / "search",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.SEARCH,
        spec="client-server-api/#post_matrixclientv3search",
    )
    async def post_event_search(
        self, requester: Requester, query: SearchQuery, body: SearchBody
    ) -> SearchAnswer:
        """Search in the rooms of the user."""
        criteria = body.search_categories.room_events
        start = parse_search_token(query.next_batch) if query.next_batch else None
        if criteria is UNSET:
            return SearchAnswer(ResultCategories())
        if start is not None and start.group is not None:
            wished = {wish.key for wish in criteria.groupings.group_by}
            if start.group.key not in wished:
                raise InvalidParam("next_batch is of a group that is not asked for")
        page = await self._search.search(requester, criteria.request(start))
        return SearchAnswer(ResultCategories(_results(page)))


def _results(page: SearchPage) -> RoomEventsResults:
    state: dict[RoomID, list[msgspec.Raw]] | UnsetType = UNSET
    if page.state is not None:
        state = {room_id: raw_events(some) for room_id, some in page.state.items()}
    groups: dict[str, dict[str, GroupPart]] | UnsetType = UNSET
    if page.groups is not None:
        groups = {
            key: {value: _group(group) for value, group in some.items()}
            for key, some in page.groups.items()
        }
    return RoomEventsResults(
        count=page.total,
        highlights=page.highlights,
        results=[_result(result) for result in page.results],
        state=state,
        groups=groups,
        next_batch=_token(page.next_batch),
    )


def _result(result: Result) -> ResultPart:
    return ResultPart(
        rank=result.rank,
        result=msgspec.Raw(result.event),
        context=UNSET if result.context is None else _context(result.context),
    )


def _context(context: ResultContext) -> ContextPart:
    return ContextPart(
        start=token_of_place(context.start),
        end=token_of_place(context.end),
        events_before=raw_events(context.before),
        events_after=raw_events(context.after),
        profile_info=UNSET if context.profiles is None else context.profiles,
    )


def _group(group: ResultGroup) -> GroupPart:
    return GroupPart(order=group.order, results=group.results, next_batch=_token(group.next_batch))


def _token(token: SearchToken | None) -> str | UnsetType:
    return UNSET if token is None else token_text(token)
