"""Room aliases. Spec: client-server-api/#room-aliases"""

import msgspec

from client_api.routes.joining import RoomPath
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import RoomAlias, RoomID, ServerName
from homeserver.rooms.aliases import RoomAliases
from homeserver.services.directory_aliases import DirectoryAliases
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class AliasPath(Params, frozen=True):
    """An alias."""

    room_alias: RoomAlias


class AliasBody(Body, frozen=True):
    """The room of the alias."""

    room_id: RoomID


class AliasAnswer(msgspec.Struct, frozen=True):
    """The room of an alias, and servers through which to reach it."""

    room_id: RoomID
    servers: list[ServerName]


class AliasesAnswer(msgspec.Struct, frozen=True):
    """A room's aliases of this server."""

    aliases: list[RoomAlias]


class DirectoryAliasRoutes:
    """The aliases of rooms."""

    def __init__(self, aliases: RoomAliases, directory: DirectoryAliases) -> None:
        self._aliases = aliases
        self._directory = directory

    @endpoint(
        "GET",
        CLIENT_V3 / "directory/room/{room_alias}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3directoryroomroomalias",
    )
    async def get_alias(self, path: AliasPath) -> AliasAnswer:
        """Return the room of an alias."""
        try:
            room_id, servers = await self._aliases.resolve(path.room_alias)
        except NotFound as error:
            raise NotFound(f"Room alias {path.room_alias} not found.") from error
        return AliasAnswer(room_id, servers)

    @endpoint(
        "PUT",
        CLIENT_V3 / "directory/room/{room_alias}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3directoryroomroomalias",
    )
    async def put_alias(self, requester: Requester, path: AliasPath, body: AliasBody) -> Empty:
        """Point a new alias to a room."""
        await self._directory.add(requester, path.room_alias, body.room_id)
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / "directory/room/{room_alias}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#delete_matrixclientv3directoryroomroomalias",
    )
    async def delete_alias(self, requester: Requester, path: AliasPath) -> Empty:
        """Delete an alias."""
        await self._directory.remove(requester, path.room_alias)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/aliases",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3roomsroomidaliases",
    )
    async def get_aliases(self, requester: Requester, path: RoomPath) -> AliasesAnswer:
        """Return the aliases of this server that point to a room."""
        return AliasesAnswer(await self._directory.of_room(requester.user_id, path.room_id))
