"""Room aliases. Spec: client-server-api/#room-aliases"""

from homeserver.errors import NotFound, RoomInUse
from homeserver.ports import RemoteDirectories
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    server_name_of,
)
from homeserver.storage import aliases
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock


class RoomAliases:
    """Resolves aliases, and makes and deletes those of this server."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        server_name: ServerName,
        directories: RemoteDirectories,
    ) -> None:
        self._database = database
        self._clock = clock
        self._server_name = server_name
        self._directories = directories

    async def resolve(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]]:
        """Return the room of an alias and servers to join it through. Raises NotFound."""
        if server_name_of(alias) == self._server_name:
            async with self._database.connection("aliases") as connection:
                found = await aliases.room_of_alias(connection, alias)
            if found is not None:
                return found[0], [self._server_name]
        else:
            remote = await self._directories.room_of_alias(alias)
            if remote is not None:
                return remote
        raise NotFound("Room alias not found")

    async def add(self, alias: RoomAlias, room_id: RoomID, creator: UserID) -> None:
        """Point a new alias of this server to a room. Raises RoomInUse."""
        async with self._database.transaction("aliases") as tx:
            if not await aliases.add_alias(tx, alias, room_id, creator, self._clock.now_ms()):
                raise RoomInUse(f"Room alias {alias} already taken")

    async def remove(self, alias: RoomAlias) -> bool:
        """Delete an alias of this server; False: there was none."""
        async with self._database.transaction("aliases") as tx:
            return await aliases.remove_alias(tx, alias)

    async def publish(self, room_id: RoomID, user_id: UserID) -> None:
        """List a room in the directory of this server."""
        async with self._database.transaction("aliases") as tx:
            await aliases.publish(tx, room_id, user_id, self._clock.now_ms())
