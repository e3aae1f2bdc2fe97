"""Reading single events. Spec: client-server-api/#getting-events-for-a-room"""

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.access import Access
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.timeline import Timeline
from homeserver.telemetry.clock import Clock
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class EventPath(Params, frozen=True):
    """An event of a room."""

    room_id: RoomID
    event_id: EventID


class RoomEventRoutes:
    """Single events."""

    def __init__(self, access: Access, timeline: Timeline, clock: Clock) -> None:
        self._access = access
        self._timeline = timeline
        self._clock = clock

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/event/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomideventeventid",
    )
    async def get_event(self, requester: Requester, path: EventPath) -> JsonBytes:
        """Return one event."""
        access = await self._access.to_read_or_none(requester.user_id, path.room_id)
        if access is None:
            raise NotFound("Event not found.")
        record = await self._timeline.visible_event(access, path.event_id)
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        return JsonBytes(render_all([record], viewer, access.view, path.room_id)[0])
