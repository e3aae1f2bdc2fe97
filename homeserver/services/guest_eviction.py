"""Rooms that close their doors to guests. Spec: client-server-api/#guest-access"""

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import GUEST_ACCESS, RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import Memberships
from homeserver.storage import guest_members
from homeserver.storage.database import Database
from homeserver.web.requester import Requester


class GuestEviction:
    """Makes the guests of this server leave rooms that do not admit guests any more."""

    def __init__(
        self, database: Database, heads: Heads, cache: EventCache, memberships: Memberships
    ) -> None:
        self._database = database
        self._heads = heads
        self._cache = cache
        self._memberships = memberships

    async def is_decided_by(self, room_id: RoomID, event_id: EventID) -> bool:
        """Whether the event says if the room admits guests."""
        head = await self._heads.head(room_id)
        entry = head.state.get(GUEST_ACCESS) if head is not None else None
        return entry is not None and entry.event_id == event_id

    async def enforce(self, room_id: RoomID) -> None:
        """Let all guests leave, if the room does not admit them; doing it again is harmless."""
        head = await self._heads.head(room_id)
        if head is None or await self._admits_guests(head):
            return
        async with self._database.connection("guest_eviction") as connection:
            guests = await guest_members.joined_guests(connection, head.room_nid)
        for guest in guests:
            # One after another: they are writes to one room, which queue anyway.
            try:
                await self._memberships.leave(Requester(user_id=guest, is_guest=True), room_id)
            except Forbidden:
                # Somebody else has removed the guest meanwhile.
                continue

    async def _admits_guests(self, head: RoomHead) -> bool:
        entry = head.state.get(GUEST_ACCESS)
        if entry is None:
            return False
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        return event is not None and event.content.get("guest_access") == "can_join"
