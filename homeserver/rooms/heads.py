"""The heads of rooms in memory: loaded on demand, advanced by writing, dropped when overtaken."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from homeserver.protocol.create import room_creation
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.protocol.join_rules import parse_join_rules
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.room_versions import rules_of
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import CREATE, JOIN_RULES, POWER_LEVELS, RoomHead, StateEntry
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.storage import log, rooms, state
from homeserver.storage.database import Database
from homeserver.storage.rooms import RoomRow
from homeserver.storage.state import SnapshotLink, StateRow
from homeserver.streams.entries import ROOM_COMPLETED, EventEntry, LogEntry, UserEntry
from homeserver.streams.tail import Tail

# Heads are weighed by their state: this many state entries are about 200 MB at the most.
MAX_STATE_ENTRIES = 1_000_000
# An empty slot is about 500 bytes; a small room's head about 10 kB.
MAX_ROOMS = 5_000


class RoomSlot:
    """A room's place in memory: its newest head, and the lock of who builds on it.

    `head` is ahead of PostgreSQL while writes are on their way. None: it must be loaded.
    `loaded_at` is the position of the log at which it was loaded, `overtaken_at` that of the
    newest change by another node. `written` is the newest write of this node, which may be on its
    way.
    """

    __slots__ = ("head", "loaded_at", "lock", "overtaken_at", "written")

    def __init__(self) -> None:
        self.head: RoomHead | None = None
        self.lock = asyncio.Lock()
        self.loaded_at = 0
        self.overtaken_at = 0
        self.written: asyncio.Future[None] | None = None

    def forget(self) -> None:
        """Have the head loaded again: something else was committed in this room."""
        self.head = None

    def overtake(self, position: int) -> None:
        """Take note of another node's change; what was loaded before it counts no more."""
        self.overtaken_at = position
        if position > self.loaded_at:
            self.forget()


class Heads:
    """The heads of the rooms that are in use on this node."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        cache: EventCache,
        nids: RowNumbers,
        server_name: ServerName,
        *,
        max_rooms: int = MAX_ROOMS,
        max_state_entries: int = MAX_STATE_ENTRIES,
    ) -> None:
        self._database = database
        self._tail = tail
        self._cache = cache
        self._nids = nids
        self._server_name = server_name
        self._max_rooms = max_rooms
        self._max_state_entries = max_state_entries
        # Counted when heads are loaded; rooms that grow later make it an estimate.
        self._state_entries = 0
        self._slots: OrderedDict[str, RoomSlot] = OrderedDict()
        tail.follow(self._take, on_gap=self._forget_all)

    def slot(self, room_id: str) -> RoomSlot:
        """Return a room's slot, whether the room exists or not."""
        slot = self._slots.get(room_id)
        if slot is None:
            self._make_space()
            slot = self._slots[room_id] = RoomSlot()
        else:
            self._slots.move_to_end(room_id)
        return slot

    async def head(self, room_id: str) -> RoomHead | None:
        """Return a room's head for reading; None: this server does not know the room.

        It may be ahead of the tail by writes of this node that are on their way.
        """
        slot = self.slot(room_id)
        if slot.head is not None:
            return slot.head
        async with slot.lock:
            return await self.loaded(slot, room_id)

    async def committed(self, room_id: str) -> RoomHead | None:
        """Return a room's head as it is stored, for those who go on with it elsewhere."""
        while (head := await self.head(room_id)) is not None:
            written = self.slot(room_id).written
            if written is None or written.done():
                break
            # It may be ahead of `head` by now, but not behind it.
            await asyncio.wait([written])
            if not written.cancelled() and written.exception() is None:
                break
        return head

    def is_ahead(self, room_id: str) -> bool:
        """Whether a write of this node, of which the room's head may tell, is on its way."""
        slot = self._slots.get(room_id)
        return slot is not None and slot.written is not None and not slot.written.done()

    def is_loaded(self, room_id: str) -> bool:
        """Whether a room's head is in memory; who asks makes no space for it."""
        slot = self._slots.get(room_id)
        return slot is not None and slot.head is not None

    async def loaded(self, slot: RoomSlot, room_id: str) -> RoomHead | None:
        """Return the slot's head, loading it; the caller holds the slot's lock.

        A head is never ahead of the tail by another node's writes, so that who builds on it finds
        in what follows the tail (transaction IDs) all that came before.
        """
        if slot.head is not None:
            return slot.head
        head, position = await self._load(room_id)
        if head is None:
            return None
        await self._tail.reach(position)
        # Overtaken already: good for whoever asked now, but not to be kept.
        if slot.overtaken_at <= position:
            slot.head, slot.loaded_at = head, position
            self._state_entries += len(head.state)
        return head

    async def _load(self, room_id: str) -> tuple[RoomHead | None, int]:
        """Read a head, and the position of the log at which it is what was read."""
        async with self._database.transaction(
            "room_head", isolation="repeatable_read", readonly=True
        ) as tx:
            position = await log.head(tx)
            row = await rooms.load_room(tx, room_id)
            if row is None:
                return None, position
            entries = await state.current_state(tx, row.room_nid)
            chain = await state.snapshot_chain(tx, row.state_nid)
        by_key = {(entry.type, entry.state_key): entry for entry in entries}
        if CREATE not in by_key:
            # Only somebody's invite or knock is known of the room.
            return None, position
        parsed = [key for key in (CREATE, POWER_LEVELS, JOIN_RULES) if key in by_key]
        events = await self._cache.get(by_key[key].event_nid for key in parsed)
        loaded = {key: events[by_key[key].event_nid] for key in parsed}
        return _head_of(row, entries, chain, loaded, self._server_name), position

    def _take(self, entries: Sequence[LogEntry]) -> None:
        """Drop the heads of rooms that another node has written to.

        An own write is in the head before it is in the tail.
        """
        for entry in entries:
            if isinstance(entry, UserEntry) and entry.kind == ROOM_COMPLETED:
                self._overtake(entry)
            if not isinstance(entry, EventEntry):
                continue
            slot = self._slots.get(entry.room_id)
            if slot is not None and not self._nids.is_own(entry.record.event_nid):
                slot.overtake(entry.pos)

    def _overtake(self, completed: UserEntry) -> None:
        for slot in self._slots.values():
            # What is being loaded may be that room, and incomplete.
            if slot.head is None or slot.head.room_nid == completed.room_nid:
                slot.overtake(completed.pos)

    def _forget_all(self) -> None:
        for slot in self._slots.values():
            slot.forget()

    def _make_space(self) -> None:
        while len(self._slots) > 1 and (
            len(self._slots) > self._max_rooms or self._state_entries > self._max_state_entries
        ):
            room_id, slot = next(iter(self._slots.items()))
            if slot.lock.locked():
                self._slots.move_to_end(room_id)
                return
            del self._slots[room_id]
            if slot.head is not None:
                self._state_entries = max(0, self._state_entries - len(slot.head.state))


def _head_of(
    row: RoomRow,
    entries: Sequence[StateRow],
    chain: Sequence[SnapshotLink],
    loaded: dict[StateKey, Event],
    server_name: ServerName,
) -> RoomHead:
    rules = rules_of(row.room_version)
    creation = room_creation(loaded[CREATE], rules)
    contents = {key: event.content for key, event in loaded.items()}
    memberships = [entry.membership for entry in entries if entry.type == "m.room.member"]
    return RoomHead(
        room_nid=row.room_nid,
        room_id=row.room_id,
        rules=rules,
        version=row.version,
        depth=row.depth,
        extremities=row.extremities,
        state={
            (entry.type, entry.state_key): StateEntry(
                entry.key_nid, entry.event_nid, entry.event_id, entry.membership
            )
            for entry in entries
        },
        chain=tuple(chain),
        creation=creation,
        power_levels=parse_power_levels(creation, contents.get(POWER_LEVELS), rules),
        join_rules=parse_join_rules(contents.get(JOIN_RULES), rules),
        joined=memberships.count("join"),
        invited=memberships.count("invite"),
        local_joined=frozenset(
            UserID(entry.state_key)
            for entry in entries
            if entry.membership == "join" and entry.state_key.endswith(f":{server_name}")
        ),
        notify_seq=row.notify_seq,
        highlight_seq=row.highlight_seq,
        threads={},
        is_partial_state=row.is_partial_state,
    )
