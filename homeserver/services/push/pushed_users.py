"""Who of the local users has pushers, in memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.storage import pushers
from homeserver.storage.database import Database
from homeserver.streams.entries import (
    PUSHERS_CHANGED,
    ROOM_COMPLETED,
    EventEntry,
    LogEntry,
    UserEntry,
)
from homeserver.streams.tail import Tail

# Rooms in which it is known who has pushers; in most of them nobody or few.
MAX_ROOMS: Final = 10_000
_NOBODY: Final[frozenset[UserID]] = frozenset()


class PushedRoom(NamedTuple):
    """A room as it is now, and those of its members who have pushers."""

    head: RoomHead
    users: frozenset[UserID]


class PushedUsers:
    """The users with pushers: a cache that follows the log.

    Who had pushers and has none any more may be among them until the next start.
    """

    def __init__(self, database: Database, tail: Tail, heads: Heads) -> None:
        self._database = database
        self._heads = heads
        self._users: set[UserID] = set()
        self._is_loaded = False
        self._gaps = 0
        self._loading = asyncio.Lock()
        # The room's members at that time, and those of them who have pushers.
        self._rooms: OrderedDict[int, tuple[frozenset[UserID], frozenset[UserID]]] = OrderedDict()
        # Rooms of which no member has a pusher, wherever the log has come.
        self._quiet: OrderedDict[int, None] = OrderedDict()
        # Grows whenever somebody comes to a room or to pushers: what was read before is old.
        self._changes = 0
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
        return room_nid not in self._quiet

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
                    self._forget_rooms()
                    self._is_loaded = True

    async def in_room(self, room_id: RoomID) -> PushedRoom | None:
        """Return a room with the members who have pushers; None: it is not known here."""
        while True:
            await self.load()
            changes = self._changes
            head = await self._heads.head(room_id)
            if head is None:
                return None
            if self._is_loaded:  # Not if there was a gap in the log meanwhile.
                break
        users = self._of(head)
        if not users and changes == self._changes and not self._heads.is_ahead(room_id):
            # What another node has overtaken, or is only on its way, says nothing of later.
            self._quiet[head.room_nid] = None
            if len(self._quiet) > MAX_ROOMS:
                self._quiet.popitem(last=False)
        return PushedRoom(head, users)

    def _of(self, head: RoomHead) -> frozenset[UserID]:
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
        """Follow on every node: any may be the next to ask."""
        for entry in entries:
            if isinstance(entry, EventEntry):
                if changes_members(entry):
                    self._changes += 1
                    self._quiet.pop(entry.room_nid, None)
            elif isinstance(entry, UserEntry):
                self._take_user(entry)

    def _take_user(self, entry: UserEntry) -> None:
        if entry.kind == ROOM_COMPLETED and entry.room_nid is not None:
            self._changes += 1
            self._quiet.pop(entry.room_nid, None)
        elif entry.kind == PUSHERS_CHANGED and entry.user_id not in self._users:
            self._users.add(UserID(entry.user_id))
            self._forget_rooms()

    def _forget_rooms(self) -> None:
        self._changes += 1
        self._rooms.clear()
        self._quiet.clear()

    def _forget_all(self) -> None:
        self._gaps += 1
        self._is_loaded = False
        self._users.clear()
        self._forget_rooms()


def changes_members(entry: EventEntry) -> bool:
    """Whether an event, or the state resolved at it, changes who is in its room."""
    return any(change.key[0] == "m.room.member" for change in entry.state_changes)
