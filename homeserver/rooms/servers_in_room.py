"""Which servers take part in a room: those with a joined user."""

from collections import Counter

from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.head import RoomHead
from homeserver.storage import room_servers
from homeserver.storage.database import Database


def joined_servers(head: RoomHead) -> "Counter[ServerName]":
    """Count the joined users of each server. Costs a look at the whole state."""
    return Counter(
        ServerName(key[1].partition(":")[2])
        for key, entry in head.state.items()
        if entry.membership == "join" and key[0] == "m.room.member"
    )


def is_joined(head: RoomHead, server: ServerName) -> bool:
    """Whether a user of a server is joined."""
    suffix = f":{server}"
    return any(
        entry.membership == "join" and key[1].endswith(suffix) for key, entry in head.state.items()
    )


class ServersInRooms:
    """Knows the servers of rooms, of those too whose members are not known yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_in(self, head: RoomHead, server: ServerName) -> bool:
        """Whether a server takes part in a room."""
        if is_joined(head, server):
            return True
        return head.is_partial_state and server in await self._told(head)

    async def all(self, head: RoomHead) -> list[ServerName]:
        """Return the servers, those with the most users first."""
        counts = joined_servers(head)
        if head.is_partial_state:
            for server in await self._told(head):
                counts.setdefault(server, 0)
        return [server for server, _ in counts.most_common()]

    async def others(self, head: RoomHead, own_name: ServerName) -> list[ServerName]:
        """Return the same without this server."""
        return [server for server in await self.all(head) if server != own_name]

    async def _told(self, head: RoomHead) -> list[ServerName]:
        async with self._database.connection("servers_in_room") as connection:
            return await room_servers.servers_told(connection, head.room_nid)
