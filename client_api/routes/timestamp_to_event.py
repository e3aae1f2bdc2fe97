"""Jumping to a date.

Spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Literal

import msgspec

from client_api.routes.joining import RoomPath
from homeserver.protocol.identifiers import EventID
from homeserver.services.closest_event import ClosestEvent
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1
from homeserver.web.requester import Requester


class TimestampDirectionQuery(Query, frozen=True, kw_only=True):
    """A time in ms since the Unix epoch, and where to look from there."""

    ts: int
    dir: Literal["f", "b"]


class TimedEventAnswer(msgspec.Struct, frozen=True):
    """An event and its time, in ms."""

    event_id: EventID
    origin_server_ts: int


class TimestampToEventRoutes:
    """Events by their time."""

    def __init__(self, closest_event: ClosestEvent) -> None:
        self._closest_event = closest_event

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/timestamp_to_event",
        # COMPAT(Element Web, while it asks for the proposal's name): MSC3030.
        also=[CLIENT_UNSTABLE / "org.matrix.msc3030/rooms/{room_id}/timestamp_to_event"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event",
    )
    async def get_timestamp_to_event(
        self, requester: Requester, path: RoomPath, query: TimestampDirectionQuery
    ) -> TimedEventAnswer:
        """Return the event closest to a time."""
        record = await self._closest_event.find(
            requester.user_id, path.room_id, query.ts, forwards=query.dir == "f"
        )
        return TimedEventAnswer(record.event_id, record.origin_server_ts)
