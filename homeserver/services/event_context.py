"""What surrounds an event. Spec: client-server-api/#event-context"""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.errors import NotFound
from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.access import Access, RoomAccess
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.timeline import Timeline, place_of
from homeserver.services.aggregations import Aggregations
from homeserver.services.event_filters import record_predicate
from homeserver.services.history_pages import HistoryPages
from homeserver.services.room_pages import beyond
from homeserver.services.room_tokens import state_position
from homeserver.storage import events, state, sync_reads
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class Surroundings(NamedTuple):
    """An event and its neighbours in client format.

    `before` is newest first; `state` is that after the last of the events. From `start` goes on
    who paginates backwards, from `end` who paginates forwards.
    """

    start: Place
    end: Place
    before: list[bytes]
    event: bytes
    after: list[bytes]
    state: list[bytes]


class EventContext:
    """Reads events with their surroundings in the name of users."""

    def __init__(
        self,
        database: Database,
        access: Access,
        timeline: Timeline,
        pages: HistoryPages,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._timeline = timeline
        self._pages = pages
        self._aggregations = aggregations
        self._clock = clock

    async def around(
        self,
        requester: Requester,
        room_id: RoomID,
        event_id: EventID,
        *,
        limit: int,
        chosen: RoomEventFilter,
    ) -> Surroundings:
        """Return an event with up to `limit` neighbours, half of them (or one less) before it.

        The filter is for the neighbours and the state. Raises NotFound, also where the requester
        may not read the room.
        """
        access = await self._access.to_read_or_none(requester.user_id, room_id)
        if access is None:
            raise NotFound("Event not found.")
        event = await self._timeline.visible_event(access, event_id)
        matcher = EventMatcher(chosen)
        place = place_of(event)
        budget = self._pages.budget()
        before = await self._pages.page(
            access,
            matcher,
            budget,
            backwards=True,
            start=beyond(event, backwards=True),
            limit=limit // 2,
        )
        after = await self._pages.page(
            access,
            matcher,
            budget.renew(),
            backwards=False,
            start=place,
            limit=limit - limit // 2,
        )
        shown = [*reversed(before.records), event, *after.records]
        state_records = await self._state(access, matcher, chosen, shown)
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        bundles = await self._aggregations.of_page(access, viewer, shown)

        def rendered(records: Sequence[EventRecord]) -> list[bytes]:
            return render_all(records, viewer, access.view, room_id, bundles)

        return Surroundings(
            before.end or beyond(shown[0], backwards=True),
            after.end or place_of(shown[-1]),
            rendered(before.records),
            rendered([event])[0],
            rendered(after.records),
            rendered(state_records),
        )

    async def _state(
        self,
        access: RoomAccess,
        matcher: EventMatcher,
        chosen: RoomEventFilter,
        shown: Sequence[EventRecord],
    ) -> list[EventRecord]:
        """Return the state after the last of the events; lazily only the senders' membership."""
        room_nid = access.room_nid
        pos = state_position(place_of(shown[-1]))
        is_lazy = chosen.lazy_load_members
        async with self._database.connection("event_context") as connection:
            by_room = await sync_reads.state_nids_of_rooms(
                connection, {room_nid: pos}, with_members=not is_lazy
            )
            nids = list(by_room.get(room_nid, ()))
            if is_lazy:
                senders = list({record.sender for record in shown})
                nids += await state.member_nids_at(connection, room_nid, senders, pos)
            records = await events.events_by_nid(connection, nids)
        if not matcher.admits_room(access.room_id):
            return []
        return list(filter(record_predicate(matcher), records.values()))
