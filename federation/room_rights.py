"""What other servers may ask of which rooms.

Spec: server-server-api/#server-access-control-lists-acls
"""

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.known import KnownEvents
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.rooms.servers_in_room import ServersInRooms


class RoomRights:
    """Admits servers to rooms."""

    def __init__(
        self, heads: Heads, known: KnownEvents, acls: ServerAcls, servers: ServersInRooms
    ) -> None:
        self._heads = heads
        self._known = known
        self._acls = acls
        self._servers = servers

    async def admit(self, origin: ServerName, room_id: RoomID) -> RoomHead:
        """Return a room that both servers are in, or were when this one left it.

        What this server has sent before leaving may have come before what it follows: who has it
        asks here for what is missing, and could have been told of it at that time.
        Raises Forbidden, for rooms that do not exist as well: who is not in a room learns nothing.
        """
        head = await self._heads.head(room_id)
        if head is None or not await self._servers.is_in(head, origin):
            raise Forbidden("Your server is not in this room")
        if not await self._acls.allows(head, origin):
            raise Forbidden("Your server is banned from this room")
        return head

    async def admit_to_event(
        self, origin: ServerName, event_id: EventID, room_id: RoomID | None = None
    ) -> RoomHead:
        """Do the same for the room of an event, which is the given one.

        Raises NotFound: there is no such event in the room; Forbidden.
        """
        if room_id is not None:
            head = await self.admit(origin, room_id)
            event_room = await self._room_of(event_id)
            if event_room != room_id:
                raise NotFound("Could not find the event")
            return head
        event_room = await self._room_of(event_id)
        if event_room is None:
            raise NotFound("Could not find the event")
        return await self.admit(origin, event_room)

    async def _room_of(self, event_id: EventID) -> RoomID | None:
        facts = await self._known.facts([event_id])
        events = await self._known.events(facts.values())
        return events[event_id].room_id if event_id in events else None
