"""Who of the local users has pushers, in memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from homeserver.protocol.identifiers import UserID
from homeserver.rooms.head import RoomHead
from homeserver.storage import pushers
from homeserver.storage.database import Database
from homeserver.streams.entries import PUSHERS_CHANGED, LogEntry, UserEntry
from homeserver.streams.tail import Tail

# Rooms in which it is known who has pushers; in most of them nobody or few.
MAX_ROOMS: Final = 10_000
_NOBODY: Final[frozenset[UserID]] = frozenset()


class PushedUsers:
    """The users with pushers: a cache that follows the log.

    Who had pushers and has none any more may be among them until the next start.
    """

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._users: set[UserID] = set()
        self._is_loaded = False
        self._gaps = 0
        self._loading = asyncio.Lock()
        # The room's members at that time, and those of them who have pushers.
        self._rooms: OrderedDict[int, tuple[frozenset[UserID], frozenset[UserID]]] = OrderedDict()
        tail.follow(self._take, on_gap=self._forget_all)

    def may_have(self, user_id: str) -> bool:
        """Whether somebody may have a pusher, asked without waiting."""
        return not self._is_loaded or user_id in self._users

    def may_be_in(self, room_nid: int) -> bool:
        """Whether anybody with a pusher may be a member of a room, asked without waiting.

        Counts for entries that do not change who is a member.
        """
        if self._is_loaded and not self._users:
            return False
        known = self._rooms.get(room_nid)
        return known is None or bool(known[1])

    async def load(self) -> None:
        """Wait until it is known who has pushers."""
        async with self._loading:
            while not self._is_loaded:
                gaps = self._gaps
                async with self._database.connection("pushed_users") as connection:
                    users = await pushers.users_with_pushers(connection)
                if gaps == self._gaps:
                    # Whoever has come meanwhile is there already.
                    self._users.update(users)
                    self._rooms.clear()
                    self._is_loaded = True

    def in_room(self, head: RoomHead) -> frozenset[UserID]:
        """Return the members of a room who have pushers; once they are loaded."""
        known = self._rooms.get(head.room_nid)
        # The head keeps the set as long as nobody comes or goes.
        if known is not None and known[0] is head.local_joined:
            self._rooms.move_to_end(head.room_nid)
            return known[1]
        users = (head.local_joined & self._users) or _NOBODY
        self._rooms[head.room_nid] = (head.local_joined, users)
        if len(self._rooms) > MAX_ROOMS:
            self._rooms.popitem(last=False)
        return users

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, UserEntry) and entry.kind == PUSHERS_CHANGED:
                user_id = UserID(entry.user_id)
                if user_id not in self._users:
                    self._users.add(user_id)
                    self._rooms.clear()

    def _forget_all(self) -> None:
        self._gaps += 1
        self._is_loaded = False
        self._users.clear()
        self._rooms.clear()
