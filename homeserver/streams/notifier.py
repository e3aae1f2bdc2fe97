"""Waking the requests that wait for something new: long polls of `/sync`."""

import asyncio
from collections.abc import Collection, Sequence

from homeserver.protocol.identifiers import UserID
from homeserver.storage.receipts import PUBLIC
from homeserver.streams.entries import EventEntry, LogEntry, ReceiptEntry
from homeserver.streams.tail import Tail


class Waiter:
    """One waiting request of a user who is in some rooms."""

    __slots__ = ("future", "rooms", "user_id")

    def __init__(self, user_id: UserID, rooms: Collection[int]) -> None:
        self.user_id = user_id
        self.rooms = rooms
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Let the request look again."""
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

    def waiting(self) -> int:
        """Return how many requests wait."""
        return sum(len(waiters) for waiters in self._by_user.values())

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, EventEntry):
                self.wake_room(entry.room_nid)
                if entry.record.type == "m.room.member" and entry.record.state_key:
                    self.wake_user(entry.record.state_key)
            elif isinstance(entry, ReceiptEntry) and entry.receipt_type == PUBLIC:
                self.wake_room(entry.room_nid)
            else:
                self.wake_user(entry.user_id)
