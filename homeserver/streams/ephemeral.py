"""What nobody keeps: who is typing. Spec: client-server-api/#typing-notifications

In the memory of every node and lost with it; the nodes tell each other over the bus.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.streams.bus import Bus
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.notifier import Notifier
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# How often the node looks who has not said for too long to be still typing.
EXPIRY_SECONDS: Final = 1.0


class TypingChange(NamedTuple):
    """A user has said on this node to be typing, for the first time or again, or has stopped."""

    room_nid: int
    user_id: UserID
    is_typing: bool


TypingFollower: TypeAlias = Callable[[TypingChange], None]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """What nodes tell each other; a timeout of 0 says that the user has stopped."""

    node_id: str
    room_nid: int
    user_id: UserID
    timeout_ms: int


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Message).decode


class TypingUsers:
    """Who is typing in which rooms, as far as this node has heard."""

    def __init__(
        self, tail: Tail, notifier: Notifier, bus: Bus, clock: Clock, *, node_id: str
    ) -> None:
        self._notifier = notifier
        self._bus = bus
        self._clock = clock
        self._node_id = node_id
        # Until when, by room and user, on the clock of this node.
        self._until: dict[int, dict[UserID, float]] = {}
        # The users who said so on this node: when time passes, it is for this node to tell.
        self._own: set[tuple[int, UserID]] = set()
        self._lists: dict[int, tuple[UserID, ...]] = {}
        self._followers: list[TypingFollower] = []
        self._watchers: list[TypingFollower] = []
        # Grows with every change, so that a change is not missed between looking and waiting.
        self.serial = 0
        tail.follow(self._take)

    @property
    def rooms(self) -> Mapping[int, tuple[UserID, ...]]:
        """Who is typing, in the order of their IDs, by room; rooms without any are absent."""
        return self._lists

    def follow(self, follower: TypingFollower) -> None:
        """Have what is said on this node told, once for all nodes: to other servers."""
        self._followers.append(follower)

    def follow_everywhere(self, watcher: TypingFollower) -> None:
        """Have what is said on any node told on every node, as far as it is heard."""
        self._watchers.append(watcher)

    def start(self, room_nid: int, user_id: UserID, timeout_ms: int) -> None:
        """Take a user as typing from now on for a time, unless it is said again."""
        self._own.add((room_nid, user_id))
        self._start(room_nid, user_id, timeout_ms)
        self._tell(TypingChange(room_nid, user_id, is_typing=True), timeout_ms)

    def stop(self, room_nid: int, user_id: UserID) -> None:
        """Take a user as not typing any more."""
        self._own.discard((room_nid, user_id))
        if self._stop(room_nid, user_id):
            self._tell(TypingChange(room_nid, user_id, is_typing=False), 0)

    def heard(self, data: bytes) -> None:
        """Take what another node tells."""
        try:
            message = _decode(data)
        except msgspec.MsgspecError as error:
            log.warning("message on the bus is not understood", error=str(error))
            return
        if message.node_id == self._node_id:
            return
        # From now on it is for the other node to tell other servers.
        self._own.discard((message.room_nid, message.user_id))
        if message.timeout_ms > 0:
            self._start(message.room_nid, message.user_id, message.timeout_ms)
        else:
            self._stop(message.room_nid, message.user_id)

    async def expire(self) -> None:
        """Stop those who have not said for too long to be typing; every node does so by itself."""
        now = self._clock.monotonic()
        over = [
            (room_nid, user_id)
            for room_nid, users in self._until.items()
            for user_id, until in users.items()
            if until <= now
        ]
        for room_nid, user_id in over:
            self._end(room_nid, user_id)

    def _end(self, room_nid: int, user_id: UserID) -> None:
        """Stop a user on every node alike; only other servers have yet to be told."""
        self._stop(room_nid, user_id)
        if (room_nid, user_id) in self._own:
            self._own.discard((room_nid, user_id))
            self._tell_followers(TypingChange(room_nid, user_id, is_typing=False))

    def _take(self, entries: Sequence[LogEntry]) -> None:
        """Stop those who have left: the log tells it to every node."""
        if not self._until:
            return
        for entry in entries:
            if not isinstance(entry, EventEntry) or entry.room_nid not in self._until:
                continue
            for change in entry.state_changes:
                if change.key[0] == "m.room.member" and change.membership != "join":
                    self._end(entry.room_nid, UserID(change.key[1]))

    def _start(self, room_nid: int, user_id: UserID, timeout_ms: int) -> None:
        users = self._until.setdefault(room_nid, {})
        is_new = user_id not in users
        users[user_id] = self._clock.monotonic() + timeout_ms / 1000
        if is_new:
            self._changed(room_nid)
        self._tell_watchers(TypingChange(room_nid, user_id, is_typing=True))

    def _stop(self, room_nid: int, user_id: UserID) -> bool:
        users = self._until.get(room_nid, {})
        if user_id not in users:
            return False
        del users[user_id]
        if not users:
            del self._until[room_nid]
        self._changed(room_nid)
        self._tell_watchers(TypingChange(room_nid, user_id, is_typing=False))
        return True

    def _changed(self, room_nid: int) -> None:
        users = tuple(sorted(self._until.get(room_nid, ())))
        if users:
            self._lists[room_nid] = users
        else:
            del self._lists[room_nid]
        self.serial += 1
        self._notifier.wake_room(room_nid)

    def _tell(self, change: TypingChange, timeout_ms: int) -> None:
        message = _Message(self._node_id, change.room_nid, change.user_id, timeout_ms)
        self._bus.tell(_encode(message))
        self._tell_followers(change)

    def _tell_followers(self, change: TypingChange) -> None:
        for follower in self._followers:
            follower(change)

    def _tell_watchers(self, change: TypingChange) -> None:
        for watcher in self._watchers:
            watcher(change)
