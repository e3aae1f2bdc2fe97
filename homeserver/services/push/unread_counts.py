"""What a user has not read, in all rooms: the number on the icon of an application."""

from typing import Final

from homeserver.protocol.identifiers import UserID
from homeserver.services.push.notification import Counts
from homeserver.storage import push_queue
from homeserver.storage.database import Database
from homeserver.streams.tail import Tail
from homeserver.streams.unread import UnreadCounts
from homeserver.streams.user_rooms import UserRooms

_JOINED: Final = "join"


class PushCounts:
    """Counts over the rooms of which users are members."""

    def __init__(
        self, database: Database, tail: Tail, unread: UnreadCounts, user_rooms: UserRooms
    ) -> None:
        self._database = database
        self._tail = tail
        self._unread = unread
        self._user_rooms = user_rooms

    async def of_user(self, user_id: UserID, position: int) -> Counts:
        """Return a user's counts at a position of the log, or at a later one."""
        await self._tail.reach(position)
        memberships = await self._user_rooms.of_user(user_id)
        joined = [nid for nid, row in memberships.items() if row.membership == _JOINED]
        if not joined:
            return Counts(0, 0)
        counts = await self._unread.of_user(user_id, joined)
        unread = {nid: each.total.notifications for nid, each in counts.items()}
        waiting = [nid for nid, count in unread.items() if count > 0]
        missed = 0
        if waiting:
            async with self._database.connection("missed_calls") as connection:
                missed = await push_queue.missed_calls(connection, user_id, waiting)
        return Counts(sum(unread.values()), missed)
