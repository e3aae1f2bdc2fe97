"""Queries about aliases and profiles. Spec: server-server-api/#querying-for-information"""

from msgspec import UNSET, Struct, UnsetType

from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.identifiers import RoomAlias, RoomID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.heads import Heads
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.services.profile_access import ProfileAccess
from homeserver.services.profiles import Profiles
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import FEDERATION_V1

# Enough to find one that lets a user in.
_MAX_SERVERS = 50


class QueryPath(Params, frozen=True):
    """What kind of query."""

    query_type: str


class DirectoryQuery(Query, frozen=True):
    """Which alias."""

    room_alias: RoomAlias


class RoomOfAlias(Struct, frozen=True):
    """The room of an alias, and servers that are in it."""

    room_id: RoomID
    servers: list[ServerName]


class ProfileQuery(Query, frozen=True):
    """Whose profile, and which field of it."""

    user_id: UserID
    field: str | UnsetType = UNSET


class QueryRoutes:
    """The endpoints under `query`."""

    def __init__(
        self,
        aliases: RoomAliases,
        heads: Heads,
        servers: ServersInRooms,
        profiles: Profiles,
        profile_access: ProfileAccess,
        own_name: ServerName,
    ) -> None:
        self._aliases = aliases
        self._heads = heads
        self._servers = servers
        self._profiles = profiles
        self._profile_access = profile_access
        self._own_name = own_name

    @endpoint(
        "GET",
        FEDERATION_V1 / "query/directory",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1querydirectory",
    )
    async def get_directory(self, origin: ServerName, query: DirectoryQuery) -> RoomOfAlias:
        """Get the room ID and servers of a room alias."""
        if server_name_of(query.room_alias) != self._own_name:
            raise NotFound("Room alias not found.")
        room_id, servers = await self._aliases.resolve(query.room_alias)
        head = await self._heads.head(room_id)
        if head is not None:
            others = await self._servers.others(head, self._own_name)
            # The origin cannot join through itself.
            servers += [each for each in others[:_MAX_SERVERS] if each != origin]
        return RoomOfAlias(room_id, servers)

    @endpoint(
        "GET",
        FEDERATION_V1 / "query/profile",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1queryprofile",
    )
    async def get_profile(self, origin: ServerName, query: ProfileQuery) -> JsonObject:
        """Query for profile information about a user."""
        if server_name_of(query.user_id) != self._own_name:
            raise InvalidParam("The user does not belong to this server")
        await self._profile_access.check_server_may_read(origin, query.user_id)
        if query.field is UNSET:
            return await self._profiles.profile(query.user_id)
        return await self._profiles.field(query.user_id, query.field)

    @endpoint(
        "GET",
        FEDERATION_V1 / "query/{query_type}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1queryquerytype",
    )
    async def get_query(self, origin: ServerName, path: QueryPath) -> JsonObject:
        """Refuse queries of other kinds: the specification knows none."""
        raise NotFound("This kind of query is not known")
