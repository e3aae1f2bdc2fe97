"""Stretches of the history of rooms.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from federation.room_rights import RoomRights
from federation.routes.pdu_answers import PduTransaction, raw_pdus
from federation.routes.room_states import RoomPath
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.rooms.serving import History
from homeserver.telemetry.clock import Clock
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import FEDERATION_V1

# More than any room has ends, or a gap sides.
_MAX_EVENTS: Final = 100


class BackfillQuery(Query, frozen=True):
    """From where, and how much."""

    v: Annotated[list[EventID], Meta(min_length=1, max_length=_MAX_EVENTS)]
    limit: Annotated[int, Meta(ge=1)]


class MissingEventsBody(Body, frozen=True):
    """Between which events, and how much."""

    earliest_events: Annotated[list[EventID], Meta(max_length=_MAX_EVENTS)]
    latest_events: Annotated[list[EventID], Meta(max_length=_MAX_EVENTS)]
    limit: Annotated[int, Meta(ge=0)] = 10
    min_depth: int = 0


class MissingEventsAnswer(msgspec.Struct, frozen=True):
    """The events between."""

    events: list[msgspec.Raw]


class TimeQuery(Query, frozen=True):
    """A time in ms since the Unix epoch, and where to look from there."""

    ts: int
    dir: Literal["f", "b"]


class TimedEventAnswer(msgspec.Struct, frozen=True):
    """An event and its time, in ms."""

    event_id: EventID
    origin_server_ts: int


class BackfillRoutes:
    """The endpoints `backfill`, `get_missing_events` and `timestamp_to_event`."""

    def __init__(
        self, rights: RoomRights, history: History, clock: Clock, own_name: ServerName
    ) -> None:
        self._rights = rights
        self._history = history
        self._clock = clock
        self._own_name = own_name

    @endpoint(
        "GET",
        FEDERATION_V1 / "backfill/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1backfillroomid",
    )
    async def get_backfill(
        self, origin: ServerName, path: RoomPath, query: BackfillQuery
    ) -> PduTransaction:
        """Retrieve events and the events which precede them."""
        await self._rights.admit(origin, path.room_id)
        served = await self._history.before(origin, path.room_id, query.v, query.limit)
        return PduTransaction(self._own_name, self._clock.now_ms(), raw_pdus(served))

    @endpoint(
        "POST",
        FEDERATION_V1 / "get_missing_events/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#post_matrixfederationv1get_missing_eventsroomid",
    )
    async def post_get_missing_events(
        self, origin: ServerName, path: RoomPath, body: MissingEventsBody
    ) -> MissingEventsAnswer:
        """Retrieve previous events that the sender is missing."""
        await self._rights.admit(origin, path.room_id)
        served = await self._history.between(
            origin,
            path.room_id,
            latest=body.latest_events,
            earliest=body.earliest_events,
            limit=body.limit,
            min_depth=body.min_depth,
        )
        return MissingEventsAnswer(raw_pdus(served))

    @endpoint(
        "GET",
        FEDERATION_V1 / "timestamp_to_event/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1timestamp_to_eventroomid",
    )
    async def get_timestamp_to_event(
        self, origin: ServerName, path: RoomPath, query: TimeQuery
    ) -> TimedEventAnswer:
        """Get the event closest to a time."""
        head = await self._rights.admit(origin, path.room_id)
        found = await self._history.closest(
            origin, head.room_nid, query.ts, forwards=query.dir == "f"
        )
        if found is None:
            raise NotFound("There is no event at that time")
        return TimedEventAnswer(*found)
