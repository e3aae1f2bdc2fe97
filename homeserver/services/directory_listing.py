"""Which rooms the directory of this server lists.

Spec: client-server-api/#published-room-directory
"""

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.identifiers import RoomAlias, RoomID
from homeserver.services.directory_rights import DirectoryRights
from homeserver.services.directory_rules import DirectoryRules
from homeserver.storage import aliases, rooms
from homeserver.storage.database import Connection, Database
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class DirectoryListing:
    """Lists and hides rooms in the name of users."""

    def __init__(
        self, database: Database, clock: Clock, rights: DirectoryRights, rules: DirectoryRules
    ) -> None:
        self._database = database
        self._clock = clock
        self._rights = rights
        self._rules = rules

    async def is_listed(self, room_id: RoomID) -> bool:
        """Whether the directory lists a room. Raises NotFound: the server does not know it."""
        async with self._database.connection("directory_listing") as connection:
            await _check_is_known(connection, room_id)
            return await aliases.is_published(connection, room_id)

    async def publish(self, requester: Requester, room_id: RoomID) -> None:
        """List a room. Raises NotFound, Forbidden."""
        known = await self._curated(requester, room_id)
        if not self._rules.may_publish(requester.user_id, room_id, known):
            raise Forbidden("This server does not let you publish this room")
        async with self._database.transaction("directory_listing") as tx:
            await aliases.publish(tx, room_id, requester.user_id, self._clock.now_ms())

    async def hide(self, requester: Requester, room_id: RoomID) -> None:
        """Take a room out of the directory. Raises NotFound, Forbidden."""
        await self._curated(requester, room_id)
        async with self._database.transaction("directory_listing") as tx:
            await aliases.unpublish(tx, room_id)

    async def _curated(self, requester: Requester, room_id: RoomID) -> list[RoomAlias]:
        """Return the aliases of a room that the requester may speak for."""
        async with self._database.connection("directory_listing") as connection:
            await _check_is_known(connection, room_id)
            known = await aliases.aliases_of_room(connection, room_id)
        if not await self._rights.may_curate(requester, room_id):
            raise Forbidden("You may not change whether this room is listed")
        return known


async def _check_is_known(connection: Connection, room_id: RoomID) -> None:
    if await rooms.room_nid_of(connection, room_id) is None:
        raise NotFound("Room not found")
