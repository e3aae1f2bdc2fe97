"""What other servers may ask, put together: events and history, directories, users and keys."""

from typing import NamedTuple

from federation.room_rights import RoomRights
from federation.routes.backfill import BackfillRoutes
from federation.routes.events import EventRoutes
from federation.routes.hierarchy import HierarchyRoutes
from federation.routes.openid import OpenIDRoutes
from federation.routes.public_rooms import PublicRoomsRoutes
from federation.routes.queries import QueryRoutes
from federation.routes.room_states import RoomStateRoutes
from federation.routes.user_keys import UserKeyRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.run.parts import Parts
from homeserver.services.backfill_history import BackfillHistory
from homeserver.services.distant_history import DistantHistory
from homeserver.services.openid_tokens import OpenIDTokens
from homeserver.services.profile_access import ProfileAccess
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.spaces_for_servers import SpacesForServers


def federation_query_routes(parts: Parts) -> list[object]:
    """Return the objects whose endpoints answer questions; none without federation."""
    if not parts.base.config.federation.enabled:
        return []
    return [*_event_routes(parts), *_directory_routes(parts), *_user_routes(parts)]


class History(NamedTuple):
    """How history that is missing here is had from other servers."""

    backfill: BackfillHistory
    distant: DistantHistory


def history_of(parts: Parts) -> History:
    """Put the fetching of history together; without federation nobody has any."""
    base, receiving, heads = parts.base, parts.receiving, parts.rooms.heads
    backfill = BackfillHistory(
        base.database,
        heads,
        ServersInRooms(base.database),
        receiving.fill_gap,
        base.clock,
        ServerName(base.config.server.name),
    )
    by_time = parts.federation.event_peers
    return History(
        backfill,
        DistantHistory(base.database, receiving.known, backfill, receiving.jump, by_time),
    )


def _event_routes(parts: Parts) -> list[object]:
    clock, receiving = parts.base.clock, parts.receiving
    own_name = ServerName(parts.base.config.server.name)
    servers = ServersInRooms(parts.base.database)
    rights = RoomRights(parts.rooms.heads, receiving.known, receiving.acls, servers)
    return [
        BackfillRoutes(rights, receiving.history, clock, own_name),
        EventRoutes(rights, receiving.history, receiving.auth_chains, clock, own_name),
        RoomStateRoutes(rights, receiving.state_before),
    ]


def _directory_routes(parts: Parts) -> list[object]:
    base, rooms = parts.base, parts.rooms
    own_name = ServerName(base.config.server.name)
    public_rooms = PublicRooms(base.database, rooms.known, rooms.directories, own_name)
    return [
        HierarchyRoutes(SpacesForServers(base.database, rooms.known)),
        PublicRoomsRoutes(public_rooms, is_open=base.config.room_directory.over_federation),
    ]


def _user_routes(parts: Parts) -> list[object]:
    base, rooms = parts.base, parts.rooms
    own_name = ServerName(base.config.server.name)
    return [
        OpenIDRoutes(OpenIDTokens(base.database, own_name, base.clock)),
        QueryRoutes(
            rooms.aliases,
            rooms.heads,
            ServersInRooms(base.database),
            parts.profiles,
            ProfileAccess(base.database, base.config.profiles, own_name),
            own_name,
        ),
        UserKeyRoutes(parts.keys.federated),
    ]
