"""Setting and reading state.

Spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey,
client-server-api/#getting-events-for-a-room
"""

from typing import Final, Literal

import msgspec

from client_api.routes.joining import RoomPath
from client_api.routes.room_answers import EventAnswer, raw_events
from client_api.routes.timestamp_massaging import TimestampQuery
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.access import Access
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.read_state import ReadState
from homeserver.services.set_state import SetState
from homeserver.telemetry.clock import Clock
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query, RawBody
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# "When an empty string, the trailing slash on this endpoint is optional."
_WITHOUT_KEY: Final = CLIENT_V3 / "rooms/{room_id}/state/{event_type}"


class StatePath(Params, frozen=True):
    """One piece of state."""

    room_id: RoomID
    event_type: str
    state_key: str = ""


class FormatQuery(Query, frozen=True):
    """How much of the event to show."""

    format: Literal["content", "event"] = "content"


class RoomStateRoutes:
    """The state of rooms."""

    def __init__(
        self, set_state: SetState, access: Access, read_state: ReadState, clock: Clock
    ) -> None:
        self._set_state = set_state
        self._access = access
        self._read_state = read_state
        self._clock = clock

    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}",
        also=[_WITHOUT_KEY],
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.MESSAGE,
        spec="client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def put_state(
        self, requester: Requester, path: StatePath, query: TimestampQuery, body: RawBody
    ) -> EventAnswer:
        """Send a state event to a room."""
        event_id = await self._set_state.set(
            requester,
            path.room_id,
            path.event_type,
            path.state_key,
            body.content,
            origin_server_ts=query.origin_server_ts(requester),
        )
        return EventAnswer(event_id)

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}",
        also=[_WITHOUT_KEY],
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def get_state_event(
        self, requester: Requester, path: StatePath, query: FormatQuery
    ) -> JsonBytes:
        """Return the content of one state event, or the event."""
        access = await self._access.to_read(requester.user_id, path.room_id)
        content, event = await self._read_state.one(
            access, path.event_type, path.state_key, self._viewer(requester)
        )
        return JsonBytes(event if query.format == "event" else msgspec.json.encode(content))

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/state",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidstate",
    )
    async def get_state(self, requester: Requester, path: RoomPath) -> list[msgspec.Raw]:
        """Return all state events of a room."""
        access = await self._access.to_read(requester.user_id, path.room_id)
        return raw_events(await self._read_state.all(access, self._viewer(requester)))

    def _viewer(self, requester: Requester) -> Viewer:
        return Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
