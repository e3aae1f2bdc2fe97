"""What surrounds an event. Spec: client-server-api/#event-context"""

import msgspec

from client_api.routes.filter_query import FilterQuery
from client_api.routes.room_answers import raw_events
from client_api.routes.room_events import EventPath
from homeserver.services.event_context import EventContext
from homeserver.services.room_tokens import token_of_place
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class ContextAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event, its neighbours, and the state after the last of them."""

    start: str
    end: str
    events_before: list[msgspec.Raw]
    event: msgspec.Raw
    events_after: list[msgspec.Raw]
    state: list[msgspec.Raw]


class RoomContextRoutes:
    """Events with their surroundings."""

    def __init__(self, context: EventContext) -> None:
        self._context = context

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/context/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidcontexteventid",
    )
    async def get_context(
        self, requester: Requester, path: EventPath, query: FilterQuery
    ) -> ContextAnswer:
        """Return an event with those just before and after it."""
        chosen = query.chosen()
        found = await self._context.around(
            requester,
            path.room_id,
            path.event_id,
            limit=query.bounded_limit(chosen),
            chosen=chosen,
        )
        return ContextAnswer(
            start=token_of_place(found.start),
            end=token_of_place(found.end),
            events_before=raw_events(found.before),
            event=msgspec.Raw(found.event),
            events_after=raw_events(found.after),
            state=raw_events(found.state),
        )
