"""Endpoints of finding rooms and users, put together: directories, previews, spaces."""

from client_api.routes.hierarchy import HierarchyRoutes
from client_api.routes.mutual_rooms import MutualRoomsRoutes
from client_api.routes.public_rooms import PublicRoomsRoutes
from client_api.routes.room_summary import RoomSummaryRoutes
from client_api.routes.room_upgrade import RoomUpgradeRoutes
from client_api.routes.user_directory import UserDirectoryRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services.hierarchy import Hierarchy
from homeserver.services.mutual_rooms import MutualRooms
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.remote_spaces import RemoteSpaces
from homeserver.services.room_summary import RoomSummary
from homeserver.services.user_directory import UserDirectory
from homeserver.services.user_directory_index import UserDirectoryIndex


def space_routes(base: Foundation, rooms: RoomLayer) -> list[object]:
    """Return the objects whose endpoints tell what rooms and users there are."""
    server_name = ServerName(base.config.server.name)
    known = rooms.known
    remote = RemoteSpaces(rooms.directories, base.clock)
    public_rooms = PublicRooms(base.database, known, rooms.directories, server_name)
    users = UserDirectory(
        base.database,
        base.user_rooms,
        UserDirectoryIndex(base.database, rooms.profiles, server_name),
        base.config.user_directory,
    )
    return [
        HierarchyRoutes(Hierarchy(known, remote, base.user_rooms)),
        MutualRoomsRoutes(MutualRooms(base.database)),
        PublicRoomsRoutes(public_rooms, requires_login=base.config.room_directory.requires_login),
        RoomSummaryRoutes(RoomSummary(known, rooms.aliases, remote, base.user_rooms)),
        RoomUpgradeRoutes(rooms.upgrade),
        UserDirectoryRoutes(users),
    ]
