"""What looks into the history of rooms other than page by page, put together."""

from client_api.routes.initial_sync import InitialSyncRoutes
from client_api.routes.peeking_events import PeekingEventRoutes
from client_api.routes.relations import RelationRoutes
from client_api.routes.room_events import RoomEventRoutes
from client_api.routes.threads import ThreadRoutes
from client_api.routes.timestamp_to_event import TimestampToEventRoutes
from homeserver.run.foundation import Foundation
from homeserver.run.presence_layer import PresenceLayer
from homeserver.run.room_layer import RoomLayer
from homeserver.services.aggregations import Aggregations
from homeserver.services.closest_event import ClosestEvent
from homeserver.services.distant_history import DistantHistory
from homeserver.services.event_stream import EventStream
from homeserver.services.followed_rooms import FollowedRooms
from homeserver.services.initial_sync import InitialSync
from homeserver.services.presence_news import PresenceNews
from homeserver.services.push_rules import PushRules
from homeserver.services.relations import Relations
from homeserver.services.room_pages import RoomPages
from homeserver.services.room_snapshots import RoomSnapshots
from homeserver.services.single_events import SingleEvents
from homeserver.services.threads import Threads


def history_routes(
    base: Foundation,
    rooms: RoomLayer,
    aggregations: Aggregations,
    pages: RoomPages,
    presence: PresenceLayer,
    distant: DistantHistory,
) -> list[object]:
    """Return the objects whose endpoints look events up."""
    database, access, clock = base.database, rooms.access, base.clock
    single_events = SingleEvents(database, access, rooms.timeline, aggregations, clock)
    return [
        RoomEventRoutes(single_events),
        RelationRoutes(Relations(database, access, rooms.timeline, aggregations, clock)),
        ThreadRoutes(Threads(database, access, rooms.timeline, rooms.cache, aggregations, clock)),
        TimestampToEventRoutes(ClosestEvent(database, access, distant)),
        PeekingEventRoutes(
            _event_stream(base, rooms, presence.news), single_events, presence.presence
        ),
        _initial_sync_routes(base, rooms, pages, presence.news),
    ]


def _event_stream(base: Foundation, rooms: RoomLayer, presence: PresenceNews | None) -> EventStream:
    return EventStream(
        base.database,
        FollowedRooms(rooms.access, rooms.visibility, base.user_rooms, base.tail),
        base.tail,
        base.reader,
        base.notifier,
        base.personal_rules,
        base.clock,
        base.shutdown,
        presence,
    )


def _initial_sync_routes(
    base: Foundation, rooms: RoomLayer, pages: RoomPages, presence: PresenceNews | None
) -> InitialSyncRoutes:
    database, tail, clock = base.database, base.tail, base.clock
    snapshots = RoomSnapshots(database, rooms.access, pages, rooms.read_state, tail, clock)
    push_rules = PushRules(database, base.log_writer)
    return InitialSyncRoutes(
        InitialSync(
            database,
            snapshots,
            base.user_rooms,
            push_rules,
            tail,
            clock,
            presence,
            rooms.invite_permissions,
        ),
        snapshots,
    )
