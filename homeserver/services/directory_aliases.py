"""The aliases of this server, as users may make, list and delete them.

Spec: client-server-api/#room-aliases
"""

from homeserver.errors import Forbidden, InvalidParam, MatrixError, NotFound, NotJoined, RoomInUse
from homeserver.protocol.history_visibility import HistoryVisibility
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    server_name_of,
)
from homeserver.rooms.access import Access
from homeserver.rooms.aliases import RoomAliases
from homeserver.services.canonical_alias import CanonicalAlias
from homeserver.services.directory_rights import DirectoryRights
from homeserver.services.directory_rules import DirectoryRules
from homeserver.storage import aliases as stored_aliases
from homeserver.storage.database import Database
from homeserver.web.requester import Requester


class DirectoryAliases:
    """Makes, lists and deletes aliases in the name of users."""

    def __init__(
        self,
        database: Database,
        aliases: RoomAliases,
        access: Access,
        canonical_alias: CanonicalAlias,
        rights: DirectoryRights,
        rules: DirectoryRules,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._aliases = aliases
        self._access = access
        self._canonical_alias = canonical_alias
        self._rights = rights
        self._rules = rules
        self._server_name = server_name

    async def add(self, requester: Requester, alias: RoomAlias, room_id: RoomID) -> None:
        """Point a new alias to a room that the requester is in.

        Raises InvalidParam: it belongs to another server; NotJoined, Forbidden; MatrixError 409:
        there is such an alias.
        """
        if server_name_of(alias) != self._server_name:
            raise InvalidParam(f"Aliases of this server end with :{self._server_name}")
        membership = await self._access.membership(requester.user_id, room_id)
        if membership is None or membership.membership != "join":
            raise NotJoined(room_id)
        if not self._rules.may_make_alias(requester.user_id, room_id, alias):
            raise Forbidden("This server does not let you make this alias")
        try:
            await self._aliases.add(alias, room_id, requester.user_id)
        except RoomInUse as error:
            # Other than createRoom, this operation has a status of its own for it.
            raise MatrixError(409, "M_UNKNOWN", f"Room alias {alias} already exists.") from error

    async def remove(self, requester: Requester, alias: RoomAlias) -> None:
        """Delete an alias: who made it, who may set the room's canonical one, administrators.

        Raises NotFound, Forbidden.
        """
        async with self._database.connection("directory_aliases") as connection:
            found = await stored_aliases.room_of_alias(connection, alias)
        if found is None:
            raise NotFound(f"Room alias {alias} not found.")
        room_id, creator = found
        is_own = creator == requester.user_id
        if not is_own and not await self._rights.may_curate(requester, room_id):
            raise Forbidden("You may not delete this alias")
        if not await self._aliases.remove(alias):
            raise NotFound(f"Room alias {alias} not found.")
        await self._canonical_alias.withdraw(requester, room_id, alias)

    async def of_room(self, user_id: UserID, room_id: RoomID) -> list[RoomAlias]:
        """Return a room's aliases of this server, for members and for world-readable rooms.

        Raises Forbidden.
        """
        access = await self._access.to_read(user_id, room_id)
        is_open = access.view.visibilities[-1] is HistoryVisibility.WORLD_READABLE
        if not (access.view.is_joined or is_open):
            raise NotJoined(room_id)
        async with self._database.connection("directory_aliases") as connection:
            return await stored_aliases.aliases_of_room(connection, room_id)
