"""The client-server endpoints of rooms, put together."""

from client_api.routes.create_room import CreateRoomRoutes
from client_api.routes.directory_aliases import DirectoryAliasRoutes
from client_api.routes.directory_listing import DirectoryListingRoutes
from client_api.routes.filters import FilterRoutes
from client_api.routes.joined_rooms import JoinedRoomsRoutes
from client_api.routes.joining import JoiningRoutes
from client_api.routes.room_context import RoomContextRoutes
from client_api.routes.room_members import RoomMembersRoutes
from client_api.routes.room_membership import RoomMembershipRoutes
from client_api.routes.room_messages import RoomMessagesRoutes
from client_api.routes.room_send import RoomSendRoutes
from client_api.routes.room_state import RoomStateRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.run.federation_query_routes import History
from homeserver.run.foundation import Foundation
from homeserver.run.history_routes import history_routes
from homeserver.run.presence_layer import PresenceLayer
from homeserver.run.room_layer import RoomLayer
from homeserver.run.space_routes import space_routes
from homeserver.services.aggregations import Aggregations
from homeserver.services.canonical_alias import CanonicalAlias
from homeserver.services.directory_aliases import DirectoryAliases
from homeserver.services.directory_listing import DirectoryListing
from homeserver.services.directory_rights import DirectoryRights
from homeserver.services.directory_rules import DirectoryRules
from homeserver.services.event_context import EventContext
from homeserver.services.filters import Filters
from homeserver.services.forget_room import ForgetRoom
from homeserver.services.guest_eviction import GuestEviction
from homeserver.services.history_pages import HistoryPages
from homeserver.services.leave_room import LeaveRoom
from homeserver.services.messages import Messages
from homeserver.services.notice_rooms import NoticeRooms
from homeserver.services.room_pages import RoomPages
from homeserver.services.send_message import SendMessage
from homeserver.services.set_state import SetState
from homeserver.services.suspension import Suspension
from homeserver.services.third_party_invites import ThirdPartyInvites


def room_routes(
    base: Foundation,
    rooms: RoomLayer,
    invites: ThirdPartyInvites,
    filters: Filters,
    presence: PresenceLayer,
    history: History,
) -> list[object]:
    """Return the objects whose endpoints are those of rooms."""
    return [
        *_writing_routes(base, rooms, invites),
        *_reading_routes(base, rooms, presence, history),
        *_directory_routes(base, rooms),
        *space_routes(base, rooms),
        FilterRoutes(filters),
    ]


def _writing_routes(base: Foundation, rooms: RoomLayer, invites: ThirdPartyInvites) -> list[object]:
    database = base.database
    suspension = Suspension(database)
    guest_eviction = GuestEviction(database, rooms.heads, rooms.cache, rooms.memberships)
    canonical_alias = CanonicalAlias(rooms.aliases, rooms.heads, rooms.cache, rooms.send)
    notice_rooms = NoticeRooms(database)
    set_state = SetState(
        rooms.send, rooms.memberships, canonical_alias, guest_eviction, suspension, notice_rooms
    )
    return [
        CreateRoomRoutes(
            rooms.create,
            invites,
            DirectoryRules(base.config.room_directory),
            default_room_version=base.config.rooms.default_version,
            server_name=ServerName(base.config.server.name),
        ),
        JoiningRoutes(rooms.memberships, rooms.aliases, invites),
        JoinedRoomsRoutes(base.user_rooms, ForgetRoom(database, base.log_writer)),
        RoomMembershipRoutes(
            rooms.memberships, LeaveRoom(rooms.memberships, notice_rooms), invites
        ),
        RoomSendRoutes(SendMessage(rooms.send, suspension, guest_eviction)),
        RoomStateRoutes(set_state, rooms.access, rooms.read_state, base.clock),
    ]


def _reading_routes(
    base: Foundation, rooms: RoomLayer, presence: PresenceLayer, history: History
) -> list[object]:
    pages = RoomPages(base.database, rooms.timeline, base.personal_rules)
    filled = HistoryPages(pages, history.backfill, history.distant, rooms.visibility, base.clock)
    aggregations = Aggregations(base.database, base.personal_rules, rooms.erasure)
    context = EventContext(
        base.database, rooms.access, rooms.timeline, filled, aggregations, base.clock
    )
    messages = Messages(rooms.access, filled, rooms.read_state, aggregations, base.clock)
    return [
        RoomMembersRoutes(rooms.access, rooms.read_state, base.clock),
        RoomMessagesRoutes(messages),
        RoomContextRoutes(context),
        *history_routes(base, rooms, aggregations, pages, presence, history.distant),
    ]


def _directory_routes(base: Foundation, rooms: RoomLayer) -> list[object]:
    rights = DirectoryRights(rooms.heads)
    rules = DirectoryRules(base.config.room_directory)
    canonical_alias = CanonicalAlias(rooms.aliases, rooms.heads, rooms.cache, rooms.send)
    aliases = DirectoryAliases(
        base.database,
        rooms.aliases,
        rooms.access,
        canonical_alias,
        rights,
        rules,
        ServerName(base.config.server.name),
    )
    listing = DirectoryListing(base.database, base.clock, rights, rules)
    return [DirectoryAliasRoutes(rooms.aliases, aliases), DirectoryListingRoutes(listing)]
