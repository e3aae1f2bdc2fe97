"""What the children of a timeline's events come to.

Only where the timeline is limited: otherwise the client gets the children themselves.
Spec: client-server-api/#aggregations-of-child-events
"""

from collections.abc import Container, Iterable
from typing import NamedTuple

from client_api.sync.request import SyncContext
from client_api.sync.timelines import TimelineStretch
from homeserver.rooms.client_events import Bundles
from homeserver.rooms.visibility import RoomView
from homeserver.rooms.visible_positions import visible_positions
from homeserver.services.aggregations import Aggregations, SeenParent, Sight
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.recent_parents import RecentParents


class LimitedRoom(NamedTuple):
    """A room of the answer; `view` None: the user has been in it for all of the timeline."""

    membership: MembershipRow
    stretch: TimelineStretch
    view: RoomView | None


class SyncBundles:
    """Bundles the children of events with the timelines of an answer, for all rooms at once."""

    def __init__(self, aggregations: Aggregations, recent_parents: RecentParents) -> None:
        self._aggregations = aggregations
        self._recent_parents = recent_parents

    async def of_rooms(
        self, context: SyncContext, rooms: Iterable[LimitedRoom], *, new: Container[int]
    ) -> Bundles:
        """Return the bundles of rooms; `new` are those that the client has not followed.

        No statement where no event has children.
        """
        parents = []
        for room in rooms:
            records = list(filter(self._recent_parents.may_have_bundle, room.stretch.records))
            if records:
                sight = _sight(context, room, is_new=room.membership.room_nid in new)
                parents += [SeenParent(record, sight) for record in records]
        return await self._aggregations.of(context.viewer, parents)


def _sight(context: SyncContext, room: LimitedRoom, *, is_new: bool) -> Sight:
    if room.view is not None:
        return Sight(visible_positions(room.view, context.now), room.view, None)
    joined_from = room.membership.pos
    if context.since is not None and not is_new:
        joined_from = min(joined_from, context.since + 1)
    return Sight([(joined_from, context.now)], None, None)
