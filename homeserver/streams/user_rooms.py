"""Which rooms the users of this node are in: a cache that follows the log."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from homeserver.protocol.identifiers import UserID
from homeserver.storage import log, memberships
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.entries import (
    MEMBERSHIP_OUTSIDE,
    ROOM_COMPLETED,
    ROOM_FORGOTTEN,
    EventEntry,
    LogEntry,
    UserEntry,
)
from homeserver.streams.tail import Tail

# About 200 bytes a room: 10,000 users in 20 rooms are 40 MB.
MAX_USERS = 10_000
_KINDS = frozenset({ROOM_FORGOTTEN, MEMBERSHIP_OUTSIDE, ROOM_COMPLETED})
_READ_AGAIN = frozenset({MEMBERSHIP_OUTSIDE, ROOM_COMPLETED})


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
        found = None
        while found is None:
            async with self._database.transaction(
                "user_rooms", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                rows = await memberships.memberships_of(tx, user_id)
            entries = await self._tail.since(position)
            if entries is not None:
                found = _brought_up(
                    {row.room_nid: row for row in rows},
                    user_id,
                    [entry for entry in entries if user_id in _users_changed_by(entry)],
                )
        self._users[user_id] = found
        while len(self._users) > self._max_users:
            self._users.popitem(last=False)
        return found

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            for user_id in _users_changed_by(entry):
                cached = self._users.get(user_id)
                if cached is None:
                    continue
                changed = _brought_up(cached, user_id, [entry])
                if changed is None:
                    del self._users[user_id]
                else:
                    self._users[user_id] = changed


def _users_changed_by(entry: LogEntry) -> Collection[str]:
    if isinstance(entry, UserEntry):
        return (entry.user_id,) if entry.kind in _KINDS else ()
    if not isinstance(entry, EventEntry):
        return ()
    # State resolution may change the memberships of several users at one event of any type.
    return {change.key[1] for change in entry.state_changes if change.key[0] == "m.room.member"}


def _brought_up(
    rooms: dict[int, MembershipRow], user_id: str, entries: Iterable[LogEntry]
) -> dict[int, MembershipRow] | None:
    """Apply entries that change a user; None: it has to be read again."""
    brought_up: dict[int, MembershipRow] | None = rooms
    for entry in entries:
        if brought_up is not None:
            brought_up = _applied(brought_up, user_id, entry)
    return brought_up


def _applied(
    rooms: dict[int, MembershipRow], user_id: str, entry: LogEntry
) -> dict[int, MembershipRow] | None:
    if isinstance(entry, EventEntry):
        return _with_membership(rooms, user_id, entry)
    if isinstance(entry, UserEntry) and entry.kind in _READ_AGAIN:
        # Only the database knows which, and the stripped state.
        return None
    room_nid = entry.room_nid if isinstance(entry, UserEntry) else None
    if room_nid is None or room_nid not in rooms:
        return rooms
    return {**rooms, room_nid: rooms[room_nid]._replace(is_forgotten=True)}


def _with_membership(
    rooms: dict[int, MembershipRow], user_id: str, entry: EventEntry
) -> dict[int, MembershipRow] | None:
    record = entry.record
    for change in entry.state_changes:
        if change.key == ("m.room.member", user_id):
            if change.event_nid not in (None, record.event_nid):
                # State resolution went back to another event, of which only the database knows.
                return None
            row = MembershipRow(
                entry.room_nid,
                entry.room_id,
                change.membership or "leave",
                record.event_nid,
                UserID(record.sender),
                entry.pos,
                is_forgotten=False,
                stripped_state=None,
            )
            return {**rooms, entry.room_nid: row}
    return rooms
