"""Which servers may take part in a room."""

from collections import OrderedDict
from typing import Final

from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.server_acl import ServerAcl, parse_server_acl
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead

# Parsed access control lists: rarely more than some kB each.
_MAX_ACLS: Final = 1_000


class ServerAcls:
    """Applies the access control lists of rooms to servers."""

    def __init__(self, cache: EventCache) -> None:
        self._cache = cache
        self._acls: OrderedDict[EventID, ServerAcl] = OrderedDict()

    async def allows(self, head: RoomHead, server: ServerName) -> bool:
        """Whether a server may take part in a room.

        Spec: client-server-api/#server-access-control-lists-acls-for-rooms
        """
        entry = head.state.get(("m.room.server_acl", ""))
        if entry is None:
            return True
        acl = self._acls.get(entry.event_id)
        if acl is None:
            found = await self._cache.get([entry.event_nid])
            acl = parse_server_acl(found[entry.event_nid].content)
            self._acls[entry.event_id] = acl
            if len(self._acls) > _MAX_ACLS:
                self._acls.popitem(last=False)
        return acl.allows(server)
