"""Following events, and single events, without /sync.

Spec: client-server-api/#get_matrixclientv3events, client-server-api/#room-previews
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.room_answers import raw_events
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.sync_token import SyncToken
from homeserver.services.event_stream import EventStream
from homeserver.services.presence import Presence
from homeserver.services.room_tokens import place_of_token
from homeserver.services.single_events import SingleEvents
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# Not in the specification; the example asks for 35 s.
DEFAULT_TIMEOUT_MS: Final = 30_000


class EventsQuery(Query, frozen=True, kw_only=True):
    """From where on, for how long to wait, and of which room."""

    start: str = msgspec.field(default="", name="from")
    timeout: Annotated[int, Meta(ge=0)] = DEFAULT_TIMEOUT_MS
    room_id: RoomID | UnsetType = UNSET


class EventsAnswer(msgspec.Struct, frozen=True):
    """Events, and the tokens of both ends."""

    start: str
    end: str
    chunk: list[msgspec.Raw]


class AnyEventPath(Params, frozen=True):
    """An event of whatever room."""

    event_id: EventID


class PeekingEventRoutes:
    """Events of rooms that one is in, or looks into."""

    def __init__(
        self, event_stream: EventStream, single_events: SingleEvents, presence: Presence
    ) -> None:
        self._event_stream = event_stream
        self._single_events = single_events
        self._presence = presence

    @endpoint(
        "GET",
        CLIENT_V3 / "events",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3events",
    )
    async def get_events(self, requester: Requester, query: EventsQuery) -> EventsAnswer:
        """Wait for new events, of all rooms of the user or of one room."""
        room_id = None if query.room_id is UNSET else query.room_id
        start = place_of_token(query.start).pos if query.start else None
        # Who looks into one room does not follow what is new.
        with self._presence.connected(requester, "offline" if room_id else "online"):
            page = await self._event_stream.after(
                requester, start, room_id=room_id, timeout_ms=query.timeout
            )
        return EventsAnswer(
            query.start or str(SyncToken(page.start)),
            str(SyncToken(page.end)),
            raw_events(page.chunk),
        )

    @endpoint(
        "GET",
        CLIENT_V3 / "events/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        deprecated=True,
        spec="client-server-api/#get_matrixclientv3eventseventid",
    )
    async def get_single_event(self, requester: Requester, path: AnyEventPath) -> JsonBytes:
        """Return one event of whatever room."""
        return JsonBytes(await self._single_events.of_any_room(requester, path.event_id))
