"""Waking the requests that wait for something new: long polls of `/sync`."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from homeserver.protocol.identifiers import UserID
from homeserver.storage.receipts import PUBLIC
from homeserver.streams.entries import (
    EventEntry,
    LogEntry,
    PresenceEntry,
    ReceiptEntry,
    ToDeviceEntry,
)
from homeserver.streams.tail import Tail


class Waiter:
    """One waiting request of a user who is in some rooms."""

    __slots__ = ("future", "is_woken", "rooms", "user_id")

    def __init__(self, user_id: UserID, rooms: Collection[int]) -> None:
        self.user_id = user_id
        self.rooms = rooms
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A wake-up may come when the time is over and the request does not know it yet.
        self.is_woken = False

    def wake(self) -> None:
        """Let the request look again."""
        self.is_woken = True
        if not self.future.done():
            self.future.set_result(None)


class Notifier:
    """Knows who waits, by user and by room.

    A wake-up carries nothing: the request reads what is new by its own token. Rooms are indexed
    per user and only while the user waits, so an idle user costs nothing here.
    """

    def __init__(self, tail: Tail) -> None:
        self._by_user: dict[str, set[Waiter]] = {}
        self._by_room: dict[int, set[Waiter]] = {}
        # For whom there is something that was not worth a wake-up yet.
        self._owed_rooms: set[int] = set()
        self._owed_users: set[str] = set()
        tail.follow(self._take, on_gap=self.wake_all)

    def begin_waiting(self, user_id: UserID, rooms: Collection[int]) -> Waiter:
        """Register a request; the caller must end the wait with `end_waiting`, once.

        Nobody changes `rooms` in the meantime.
        """
        waiter = Waiter(user_id, rooms)
        self._by_user.setdefault(user_id, set()).add(waiter)
        for room_nid in rooms:
            room = self._by_room.get(room_nid)
            if room is None:
                room = self._by_room[room_nid] = set()
            room.add(waiter)
        return waiter

    def end_waiting(self, waiter: Waiter) -> None:
        """Take a request out again."""
        waiters = self._by_user[waiter.user_id]
        waiters.discard(waiter)
        if not waiters:
            del self._by_user[waiter.user_id]
        for room_nid in waiter.rooms:
            room = self._by_room.get(room_nid)
            if room is not None:
                room.discard(waiter)
                if not room:
                    del self._by_room[room_nid]

    def wake_user(self, user_id: str) -> None:
        """Wake the requests of one user."""
        for waiter in self._by_user.get(user_id, ()):
            waiter.wake()

    def wake_room(self, room_nid: int) -> None:
        """Wake the requests of everybody in a room."""
        for waiter in self._by_room.get(room_nid, ()):
            waiter.wake()

    def wake_all(self) -> None:
        """Wake every request: entries were skipped, or the server is about to stop."""
        for waiters in self._by_user.values():
            for waiter in waiters:
                waiter.wake()

    def wake_later(self, room_nids: Iterable[int], user_id: str) -> None:
        """Owe the requests of a user and of everybody in rooms a wake-up: see `wake_owed`."""
        self._owed_rooms.update(room_nids)
        self._owed_users.add(user_id)

    def owes(self, waiter: Waiter) -> bool:
        """Whether there is something for a request of which nobody has woken it."""
        return waiter.user_id in self._owed_users or not self._owed_rooms.isdisjoint(waiter.rooms)

    def wake_owed(self) -> int:
        """Give the wake-ups that are owed; return how many requests would have slept on."""
        waiters = {
            waiter for user_id in self._owed_users for waiter in self._by_user.get(user_id, ())
        }
        for room_nid in self._owed_rooms:
            waiters.update(self._by_room.get(room_nid, ()))
        self._owed_users.clear()
        self._owed_rooms.clear()
        asleep = [waiter for waiter in waiters if not waiter.future.done()]
        for waiter in asleep:
            waiter.wake()
        return len(asleep)

    def waiting(self) -> int:
        """Return how many requests wait."""
        return sum(len(waiters) for waiters in self._by_user.values())

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, EventEntry):
                self.wake_room(entry.room_nid)
                if entry.record.type == "m.room.member" and entry.record.state_key:
                    self.wake_user(entry.record.state_key)
                for change in entry.state_changes:
                    if change.key[0] == "m.room.member":
                        self.wake_user(change.key[1])
            elif isinstance(entry, ReceiptEntry) and entry.receipt_type == PUBLIC:
                self.wake_room(entry.room_nid)
            elif isinstance(entry, ToDeviceEntry):
                for user_id in entry.user_ids:
                    self.wake_user(user_id)
            elif isinstance(entry, PresenceEntry):
                self.wake_later(entry.room_nids, entry.user_id)
            else:
                self.wake_user(entry.user_id)
