"""Which rooms the users of this node are in: a cache that follows the log."""

from collections import OrderedDict
from collections.abc import Sequence

from homeserver.protocol.identifiers import UserID
from homeserver.storage import log, memberships
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.entries import ROOM_FORGOTTEN, EventEntry, LogEntry, UserEntry
from homeserver.streams.tail import Tail

# About 200 bytes a room: 10,000 users in 20 rooms are 40 MB.
MAX_USERS = 10_000


class UserRooms:
    """The memberships of users as they are at the tail's position.

    A user's dictionary maps room numbers to memberships. It is replaced, not changed, when a
    membership changes, so that who holds it may go on iterating.
    """

    def __init__(self, database: Database, tail: Tail, *, max_users: int = MAX_USERS) -> None:
        self._database = database
        self._tail = tail
        self._max_users = max_users
        self._users: OrderedDict[str, dict[int, MembershipRow]] = OrderedDict()
        tail.follow(self._take, on_gap=self._users.clear)

    async def of_user(self, user_id: UserID) -> dict[int, MembershipRow]:
        """Return all memberships of a user: joined, invited, knocked, left, banned, forgotten."""
        found = self._users.get(user_id)
        if found is not None:
            self._users.move_to_end(user_id)
            return found
        return await self._load(user_id)

    async def _load(self, user_id: UserID) -> dict[int, MembershipRow]:
        entries = None
        while entries is None:
            async with self._database.transaction(
                "user_rooms", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                rows = await memberships.memberships_of(tx, user_id)
            entries = await self._tail.since(position)
        found = {row.room_nid: row for row in rows}
        for entry in entries:
            if _user_changed_by(entry) == user_id:
                found = _applied(found, user_id, entry)
        self._users[user_id] = found
        while len(self._users) > self._max_users:
            self._users.popitem(last=False)
        return found

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            user_id = _user_changed_by(entry)
            cached = self._users.get(user_id) if user_id is not None else None
            if user_id is not None and cached is not None:
                self._users[user_id] = _applied(cached, user_id, entry)


def _user_changed_by(entry: LogEntry) -> str | None:
    if isinstance(entry, UserEntry):
        return entry.user_id if entry.kind == ROOM_FORGOTTEN else None
    if not isinstance(entry, EventEntry):
        return None
    is_member = entry.state_changes and entry.record.type == "m.room.member"
    return entry.record.state_key if is_member else None


def _applied(
    rooms: dict[int, MembershipRow], user_id: str, entry: LogEntry
) -> dict[int, MembershipRow]:
    if isinstance(entry, EventEntry):
        return _with_membership(rooms, user_id, entry)
    room_nid = entry.room_nid
    if room_nid is None or room_nid not in rooms:
        return rooms
    return {**rooms, room_nid: rooms[room_nid]._replace(is_forgotten=True)}


def _with_membership(
    rooms: dict[int, MembershipRow], user_id: str, entry: EventEntry
) -> dict[int, MembershipRow]:
    for change in entry.state_changes:
        if change.key == ("m.room.member", user_id) and change.event_nid is not None:
            row = MembershipRow(
                entry.room_nid,
                entry.room_id,
                change.membership or "leave",
                change.event_nid,
                UserID(entry.record.sender),
                entry.pos,
                is_forgotten=False,
                stripped_state=None,
            )
            return {**rooms, entry.room_nid: row}
    return rooms
