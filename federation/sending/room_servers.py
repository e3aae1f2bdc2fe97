"""Which other servers are in which rooms, as of how far the log has been routed."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.storage import room_servers
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.streams.entries import EventEntry

# Users of other servers: some 100 bytes each, so 50 MB.
MAX_MEMBERS: Final = 500_000


class _Room:
    """The joined users of other servers, by server."""

    def __init__(self, users: Iterable[UserID], told: Iterable[ServerName]) -> None:
        self.members: dict[ServerName, set[UserID]] = {}
        # While not all members are known.
        self.told = frozenset(told)
        for user_id in users:
            self.members.setdefault(server_name_of(user_id), set()).add(user_id)

    @property
    def servers(self) -> frozenset[ServerName]:
        return self.told.union(self.members)

    def count(self) -> int:
        return sum(map(len, self.members.values()))


class RoomServers:
    """A cache that whoever routes the log keeps up with it, entry by entry."""

    def __init__(self, database: Database, own_name: ServerName) -> None:
        self._database = database
        self._own_name = own_name
        self._rooms: OrderedDict[int, _Room] = OrderedDict()
        self._members = 0

    async def of(self, room_nid: int, position: int) -> frozenset[ServerName]:
        """Return the servers in a room after a position, up to which entries were taken."""
        return (await self._room(room_nid, position)).servers

    async def look(self, room_nid: int, position: int) -> frozenset[ServerName]:
        """Return the same for who does not take entries: what has to be read is not kept."""
        room = self._rooms.get(room_nid) or await self._read(room_nid, position)
        return room.servers

    async def around(self, entry: EventEntry) -> frozenset[ServerName]:
        """Take an entry, and return the servers that were in the room before it or are after it.

        By the join of a user of this server no other server goes: those that are not there any
        more had gone while this server was away.
        """
        joins_here = _is_own_join(entry, self._own_name)
        if entry.record.flags & PARTIAL_STATE:
            return await self._around_unknown(entry, after_only=joins_here)
        room = await self._room(entry.room_nid, entry.pos - 1)
        before = room.servers
        if not self._apply(room, entry):
            return before
        return room.servers if joins_here else before | room.servers

    async def _around_unknown(
        self, entry: EventEntry, *, after_only: bool
    ) -> frozenset[ServerName]:
        """Do the same where the entries do not say who is in the room: all of it is read."""
        # What is known of an earlier stay is of no use any more.
        self.forget(entry.room_nid)
        after = (await self._read(entry.room_nid, entry.pos)).servers
        if after_only:
            return after
        return after | (await self._read(entry.room_nid, entry.pos - 1)).servers

    def forget(self, room_nid: int) -> None:
        """Have a room read again: its members were not all in the entries."""
        room = self._rooms.pop(room_nid, None)
        if room is not None:
            self._members -= room.count()

    async def _room(self, room_nid: int, position: int) -> _Room:
        room = self._rooms.get(room_nid)
        if room is not None:
            self._rooms.move_to_end(room_nid)
            return room
        room = await self._read(room_nid, position)
        if not room.told:
            self._keep(room_nid, room)
        return room

    async def _read(self, room_nid: int, position: int) -> _Room:
        async with self._database.connection("room_servers") as connection:
            # First, so that the room may be completed in between: who is told of then is in both.
            told = await room_servers.servers_told(connection, room_nid, position)
            users = await room_servers.remote_members_at(
                connection, self._own_name, room_nid, position
            )
        return _Room(users, (each for each in told if each != self._own_name))

    def _keep(self, room_nid: int, room: _Room) -> None:
        self._rooms[room_nid] = room
        # An empty room takes its place too.
        self._members += room.count()
        while len(self._rooms) > 1 and self._members + len(self._rooms) > MAX_MEMBERS:
            _, oldest = self._rooms.popitem(last=False)
            self._members -= oldest.count()

    def _apply(self, room: _Room, entry: EventEntry) -> bool:
        is_changed = False
        for change in entry.state_changes:
            if change.key[0] != "m.room.member":
                continue
            user_id = UserID(change.key[1])
            server = ServerName(user_id.partition(":")[2])
            if server == self._own_name:
                continue
            is_changed = True
            members = room.members.setdefault(server, set())
            self._members -= len(members)
            (members.add if change.membership == "join" else members.discard)(user_id)
            self._members += len(members)
            if not members:
                del room.members[server]
        return is_changed


def _is_own_join(entry: EventEntry, own_name: ServerName) -> bool:
    return any(
        change.event_nid == entry.record.event_nid
        and change.membership == "join"
        and change.key[1].endswith(f":{own_name}")
        for change in entry.state_changes
    )
