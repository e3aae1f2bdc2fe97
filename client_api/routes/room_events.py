"""Reading single events. Spec: client-server-api/#getting-events-for-a-room"""

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.services.single_events import SingleEvents
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

    def __init__(self, single_events: SingleEvents) -> None:
        self._single_events = single_events

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
        event = await self._single_events.of_room(requester, path.room_id, path.event_id)
        return JsonBytes(event)
