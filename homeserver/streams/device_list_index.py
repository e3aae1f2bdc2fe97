"""What in the log bears on device lists: an index of the tail, and the wake-ups of those concerned.

Spec: client-server-api/#tracking-the-device-list-for-a-user
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.storage import device_lists, log
from homeserver.storage.database import Database
from homeserver.streams.entries import (
    CROSS_SIGNING_CHANGED,
    DEVICE_KEYS_CHANGED,
    ROOM_COMPLETED,
    USERS_SIGNED,
    EventEntry,
    LogEntry,
    StateChange,
    UserEntry,
)
from homeserver.streams.notifier import Notifier
from homeserver.streams.tail import Tail
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.tasks import Tasks

# Some 100 bytes each.
MAX_ROOMS: Final = 50_000
KEY_CHANGES: Final = frozenset({DEVICE_KEYS_CHANGED, CROSS_SIGNING_CHANGED})


class DeviceListFact(NamedTuple):
    """Something happened to a user's keys (room_nid None), a membership, or a room's encryption.

    `user_id` None: the room's encryption, or that all of its members are known now. `is_signing`:
    the user has signed keys of others. Whether the user was joined before and is after is None
    where the entry alone does not say so.
    """

    pos: int
    room_nid: int | None
    user_id: UserID | None
    is_signing: bool = False
    was_joined: bool | None = None
    is_joined: bool | None = None


class DeviceListIndex:
    """The facts of the tail. Changes of keys wake everybody who shares a room with the user."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        user_rooms: UserRooms,
        notifier: Notifier,
        tasks: Tasks,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._tail = tail
        self._server_name = server_name
        self._user_rooms = user_rooms
        self._notifier = notifier
        self._tasks = tasks
        self._facts: deque[DeviceListFact] = deque()
        self._encrypted: OrderedDict[int, bool] = OrderedDict()
        tail.follow(self._take, on_gap=self._forget)

    @property
    def position(self) -> int:
        """How far the facts reach."""
        return self._tail.position

    async def encrypted_among(self, room_nids: Collection[int]) -> set[int]:
        """Return which of the rooms are encrypted, as of the tail's position or later."""
        missing = [room_nid for room_nid in room_nids if room_nid not in self._encrypted]
        found = {room_nid for room_nid in room_nids if self._encrypted.get(room_nid)}
        return found | await self._load(missing) if missing else found

    async def _load(self, room_nids: list[int]) -> set[int]:
        entries = None
        while entries is None:
            async with self._database.transaction(
                "encrypted_rooms", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                _, encrypted = await device_lists.encrypted_then_and_now(
                    tx, room_nids, position, position
                )
            entries = await self._tail.since(position)
        facts = [fact for entry in entries for fact in self._facts_of(entry)]
        turned = {fact.room_nid for fact in facts if fact.user_id is None}
        for room_nid in room_nids:
            if room_nid not in turned:
                self._encrypted[room_nid] = room_nid in encrypted
        while len(self._encrypted) > MAX_ROOMS:
            self._encrypted.popitem(last=False)
        return encrypted

    def between(self, after: int, upto: int) -> list[DeviceListFact] | None:
        """Return the facts at positions in (after, upto]; None: the tail begins later."""
        if after < self._tail.floor:
            return None
        newest = takewhile(lambda fact: fact.pos > after, reversed(self._facts))
        return [fact for fact in newest if fact.pos <= upto]

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            for fact in self._facts_of(entry):
                self._facts.append(fact)
                if fact.room_nid is not None and fact.user_id is None:
                    self._encrypted.pop(fact.room_nid, None)
                if fact.room_nid is None and not fact.is_signing and fact.user_id is not None:
                    self._tasks.spawn("device list wake-up", self._wake(fact.user_id))
        floor = self._tail.floor
        while self._facts and self._facts[0].pos <= floor:
            self._facts.popleft()

    async def _wake(self, user_id: UserID) -> None:
        for room_nid, membership in (await self._user_rooms.of_user(user_id)).items():
            if membership.membership == "join":
                self._notifier.wake_room(room_nid)

    def _forget(self) -> None:
        self._facts.clear()
        self._encrypted.clear()

    def _facts_of(self, entry: LogEntry) -> Iterator[DeviceListFact]:
        if isinstance(entry, UserEntry):
            if entry.kind in KEY_CHANGES or entry.kind == USERS_SIGNED:
                is_signing = entry.kind == USERS_SIGNED
                yield DeviceListFact(entry.pos, None, UserID(entry.user_id), is_signing)
            elif entry.kind == ROOM_COMPLETED:
                yield DeviceListFact(entry.pos, entry.room_nid, None)
        elif isinstance(entry, EventEntry):
            for change in entry.state_changes:
                if change.key[0] == "m.room.member":
                    fact = self._move(entry, change)
                    if fact.was_joined is None or fact.was_joined is not fact.is_joined:
                        yield fact
                elif change.key == ("m.room.encryption", ""):
                    yield DeviceListFact(entry.pos, entry.room_nid, None)

    def _move(self, entry: EventEntry, change: StateChange) -> DeviceListFact:
        """Return a change of a membership, with what it was before if that is sure.

        Events of other servers may stand on a fork, where what they replace is not what was.
        """
        record, user_id = entry.record, UserID(change.key[1])
        fact = DeviceListFact(entry.pos, entry.room_nid, user_id)
        is_of_event = (record.type, record.state_key) == change.key
        if not is_of_event or not record.sender.endswith(f":{self._server_name}"):
            return fact
        if record.replaces_nid is None:
            was_joined = False
        elif record.replaced_core is None:
            return fact
        else:
            was_joined = _decode(record.replaced_core).content.membership == "join"
        return fact._replace(was_joined=was_joined, is_joined=change.membership == "join")


class _Content(msgspec.Struct):
    membership: str = ""


class _Core(msgspec.Struct):
    content: _Content


_decode: Final = msgspec.json.Decoder(_Core).decode
