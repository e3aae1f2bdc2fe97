"""Single events, with what their children come to.

Spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
"""

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.access import Access
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.timeline import Timeline
from homeserver.services.aggregations import Aggregations
from homeserver.storage import events, rooms
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class SingleEvents:
    """Reads events in the name of users."""

    def __init__(
        self,
        database: Database,
        access: Access,
        timeline: Timeline,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._timeline = timeline
        self._aggregations = aggregations
        self._clock = clock

    async def of_room(self, requester: Requester, room_id: RoomID, event_id: EventID) -> bytes:
        """Return an event in client format. Raises NotFound, also where it may not be seen."""
        access = await self._access.to_read_or_none(requester.user_id, room_id)
        if access is None:
            raise NotFound("Event not found.")
        record = await self._timeline.visible_event(access, event_id)
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        bundles = await self._aggregations.of_page(access, viewer, [record])
        return render_all([record], viewer, access.view, room_id, bundles)[0]

    async def of_any_room(self, requester: Requester, event_id: EventID) -> bytes:
        """Return an event of whatever room. Raises NotFound in the same way."""
        async with self._database.connection("single_events") as connection:
            record = await events.event_by_id(connection, event_id)
            room_nids = [] if record is None else [record.room_nid]
            room_ids = await rooms.room_ids_of(connection, room_nids)
        if not room_ids:
            raise NotFound("Event not found.")
        return await self.of_room(requester, room_ids[room_nids[0]], event_id)
