"""The children of events. Spec: client-server-api/#relationships-api"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.room_answers import raw_events
from client_api.routes.room_events import EventPath
from homeserver.protocol.filters import MAX_LIMIT
from homeserver.services.relations import MAX_DEPTH, Relations, RelationsRequest
from homeserver.services.room_tokens import place_of_token, token_of_place
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V1
from homeserver.web.requester import Requester

DEFAULT_LIMIT: Final = 20


class TypedRelationsPath(EventPath, frozen=True):
    """The relations of one type to an event."""

    rel_type: str


class TypedChildrenPath(TypedRelationsPath, frozen=True):
    """The relations of one type to an event, by events of one type."""

    event_type: str


class RelationsQuery(Query, frozen=True, kw_only=True):
    """Which stretch of the children."""

    # Empty is "from the end", as for messages.
    start: str = msgspec.field(default="", name="from")
    stop: str = msgspec.field(default="", name="to")
    limit: Annotated[int, Meta(ge=0)] = DEFAULT_LIMIT
    dir: Literal["b", "f"] = "b"
    recurse: bool | UnsetType = UNSET

    def wanted(
        self, *, rel_type: str | None = None, event_type: str | None = None
    ) -> RelationsRequest:
        """Return the request. Raises InvalidToken."""
        return RelationsRequest(
            rel_type=rel_type,
            event_type=event_type,
            backwards=self.dir == "b",
            start=place_of_token(self.start) if self.start else None,
            stop=place_of_token(self.stop) if self.stop else None,
            limit=min(self.limit, MAX_LIMIT),
            recurse=self.recurse is True,
        )


class RelationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Children, and the tokens of both ends."""

    chunk: list[msgspec.Raw]
    next_batch: str | UnsetType = UNSET
    prev_batch: str | UnsetType = UNSET
    recursion_depth: int | UnsetType = UNSET


class RelationRoutes:
    """Events that relate to an event."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/relations/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventid",
    )
    async def get_relations(
        self, requester: Requester, path: EventPath, query: RelationsQuery
    ) -> RelationsAnswer:
        """Return the children of an event."""
        return await self._answer(requester, path, query, query.wanted())

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/relations/{event_id}/{rel_type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltype",
    )
    async def get_relations_of_type(
        self, requester: Requester, path: TypedRelationsPath, query: RelationsQuery
    ) -> RelationsAnswer:
        """Return the children of an event by the type of the relation."""
        wanted = query.wanted(rel_type=path.rel_type)
        return await self._answer(requester, path, query, wanted)

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype",
    )
    async def get_relations_of_event_type(
        self, requester: Requester, path: TypedChildrenPath, query: RelationsQuery
    ) -> RelationsAnswer:
        """Return the children of an event by the types of the relation and of the children."""
        wanted = query.wanted(rel_type=path.rel_type, event_type=path.event_type)
        return await self._answer(requester, path, query, wanted)

    async def _answer(
        self,
        requester: Requester,
        path: EventPath,
        query: RelationsQuery,
        wanted: RelationsRequest,
    ) -> RelationsAnswer:
        page = await self._relations.of_event(requester, path.room_id, path.event_id, wanted)
        return RelationsAnswer(
            chunk=raw_events(page.chunk),
            next_batch=UNSET if page.end is None else token_of_place(page.end),
            prev_batch=query.start or UNSET,
            recursion_depth=_depth(query.recurse),
        )


def _depth(recurse: bool | UnsetType) -> int | UnsetType:  # noqa: FBT001 - a query parameter
    """Return how many levels of relations were followed: "mandatory" if `recurse` was given."""
    if recurse is UNSET:
        return UNSET
    return MAX_DEPTH if recurse else 1
