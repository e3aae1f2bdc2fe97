"""Finding, for each change in the log, the servers that are to be told, in the order of the log."""

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from federation.sending.outbox import DeviceItem, DurableItem, PduItem, SigningKeyItem
from federation.sending.room_servers import RoomServers
from homeserver.protocol import edu
from homeserver.protocol.identifiers import DeviceID, EventID, RoomID, ServerName, UserID
from homeserver.storage import outbound, room_servers, rooms
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PASSED_ON
from homeserver.storage.presence import PresenceState
from homeserver.storage.receipts import PUBLIC, UNTHREADED
from homeserver.streams.entries import (
    CROSS_SIGNING_CHANGED,
    DEVICE_CHANGED,
    DEVICE_KEYS_CHANGED,
    ROOM_COMPLETED,
    EventEntry,
    LogEntry,
    PresenceEntry,
    ReceiptEntry,
    ToDeviceEntry,
    UserEntry,
)
from homeserver.streams.ephemeral import TypingChange
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.tasks import Tasks

_MAX_POSITIONS: Final = 1_000
# A receipt of before that was told, or is of no interest any more.
_STALE_MS: Final = 60_000
_DEVICE_KINDS: Final = frozenset({DEVICE_CHANGED, DEVICE_KEYS_CHANGED})
_PAUSE_SECONDS: Final = 1.0


class Recipients(Protocol):
    """Takes what goes to whom; what is not for this node to send is let go."""

    def durable(self, destinations: Iterable[ServerName], item: DurableItem) -> None:
        """Take something that must arrive."""
        ...

    def ephemeral(self, destinations: Iterable[ServerName], key: Hashable, update: edu.Edu) -> None:
        """Take something that may be lost."""
        ...

    def to_device(self, destinations: Iterable[ServerName]) -> None:
        """Learn that messages to devices wait for servers."""
        ...


class Router:
    """Reads the log behind the tail, on every node; `position` is how far it has come."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        recipients: Recipients,
        clock: Clock,
        own_name: ServerName,
        *,
        tells_presence: bool,
    ) -> None:
        self._database = database
        self._tail = tail
        self._recipients = recipients
        self._clock = clock
        self._suffix = f":{own_name}"
        self._own_name = own_name
        self.tells_presence = tells_presence
        self._servers = RoomServers(database, own_name)
        self._has_work = asyncio.Event()
        self._room_ids: dict[int, RoomID] = {}
        self.position = 0

    def start(self, tasks: Tasks) -> None:
        """Begin at the tail's position."""
        self.position = self._tail.position
        self._tail.follow(lambda _entries: self._has_work.set(), on_gap=self._has_work.set)
        tasks.spawn("federation router", self._run(tasks))

    def is_behind(self, position: int) -> bool:
        """Whether the log is not routed yet up to a position, which it has."""
        self._tail.expect(position)
        return self.position < position

    async def _run(self, tasks: Tasks) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._tail.position > self.position:
                # As a task of its own, whose failure is logged and does not end the routing.
                if await tasks.spawn("federation routing", self._route_next()) is None:
                    await self._clock.sleep(_PAUSE_SECONDS)

    async def _route_next(self) -> bool:
        upto = min(self._tail.position, self.position + _MAX_POSITIONS)
        for entry in await self._tail.between(self.position, upto):
            await self._route(entry)
            self.position = entry.pos
        self.position = upto
        return True

    async def _route(self, entry: LogEntry) -> None:
        if isinstance(entry, EventEntry):
            await self._route_event(entry)
        elif isinstance(entry, ReceiptEntry):
            await self._route_receipt(entry)
        elif isinstance(entry, ToDeviceEntry):
            if entry.destinations:
                self._recipients.to_device(map(ServerName, entry.destinations))
        elif isinstance(entry, PresenceEntry):
            if self.tells_presence and entry.user_id.endswith(self._suffix):
                await self._tell_presence(entry.state, entry.room_nids)
        else:
            if entry.kind == ROOM_COMPLETED and entry.room_nid is not None:
                self._servers.forget(entry.room_nid)
            await self._route_user_change(entry)

    async def _route_event(self, entry: EventEntry) -> None:
        servers = await self._servers.around(entry)
        record = entry.record
        is_own = record.sender.endswith(self._suffix)
        if not is_own:
            if not record.flags & PASSED_ON:
                return
            if record.state_key == record.sender:
                # Its own server has made it, and has asked this one to bring it into the room.
                servers -= {ServerName(record.sender.partition(":")[2])}
        elif record.type == "m.room.member" and record.state_key is not None:
            servers |= self._taken_out(entry)
        if servers:
            self._recipients.durable(servers, PduItem(entry.pos, record.event_nid))
        if is_own and servers and record.type == "m.room.member":
            await self._introduce(entry, servers)

    def _taken_out(self, entry: EventEntry) -> set[ServerName]:
        """Return the servers of users who are not in the room but can leave it: invited ones."""
        return {
            ServerName(change.key[1].partition(":")[2])
            for change in entry.state_changes
            if change.key[0] == "m.room.member" and change.membership in ("leave", "ban")
        } - {self._own_name, ServerName("")}

    async def _introduce(self, entry: EventEntry, servers: Iterable[ServerName]) -> None:
        """Tell of the devices of a local user who has joined.

        Spec: server-server-api/#device-management: "when that user joins a room which contains
        servers which are not already receiving updates for that user's device list"
        """
        user_id = UserID(entry.record.state_key or "")
        joins = any(
            change.key == ("m.room.member", user_id) and change.membership == "join"
            for change in entry.state_changes
        )
        if not joins or not user_id.endswith(self._suffix) or _was_joined(entry):
            return
        async with self._database.connection("federation_router") as connection:
            device_id = await outbound.newest_device(connection, user_id)
        if device_id is not None:
            self._recipients.durable(servers, DeviceItem(entry.pos, user_id, device_id))

    async def _route_receipt(self, entry: ReceiptEntry) -> None:
        if entry.receipt_type != PUBLIC or not entry.user_id.endswith(self._suffix):
            return
        if self._clock.now_ms() - entry.ts > _STALE_MS:
            return
        servers = await self._servers.of(entry.room_nid, entry.pos)
        room_id = await self._room_id(entry.room_nid) if servers else None
        if room_id is None:
            return
        thread_id = None if entry.thread_id == UNTHREADED else entry.thread_id
        receipt = edu.Receipt(
            room_id, UserID(entry.user_id), EventID(entry.event_id), entry.ts, thread_id
        )
        key = ("m.receipt", entry.room_nid, entry.user_id, entry.thread_id)
        self._recipients.ephemeral(servers, key, edu.Receipts((receipt,)))

    async def _route_user_change(self, entry: UserEntry) -> None:
        if not entry.user_id.endswith(self._suffix):
            return
        user_id = UserID(entry.user_id)
        item: DurableItem
        if entry.kind in _DEVICE_KINDS and entry.device_id is not None:
            item = DeviceItem(entry.pos, user_id, DeviceID(entry.device_id))
        elif entry.kind == CROSS_SIGNING_CHANGED:
            item = SigningKeyItem(entry.pos, user_id)
        else:
            return
        async with self._database.connection("federation_router") as connection:
            servers = await room_servers.servers_of_user(connection, self._own_name, user_id)
        self._recipients.durable(servers, item)

    async def tell_typing(self, change: TypingChange) -> None:
        """Tell of a local user who types, or has stopped."""
        if not change.user_id.endswith(self._suffix):
            return
        servers = await self._servers.look(change.room_nid, self.position)
        room_id = await self._room_id(change.room_nid) if servers else None
        if room_id is not None:
            key = ("m.typing", change.room_nid, change.user_id)
            update = edu.Typing(room_id, change.user_id, change.is_typing)
            self._recipients.ephemeral(servers, key, update)

    async def repeat_presence(self, states: Sequence[PresenceState]) -> None:
        """Tell again of local users who are still there, so that they are not taken for lost."""
        # What is new comes by the log.
        told = [state for state in states if state.pos <= self.position]
        async with self._database.connection("federation_router") as connection:
            servers = await room_servers.servers_of_users(
                connection, self._own_name, [state.user_id for state in told]
            )
        for state in told:
            self._send_presence(servers.get(state.user_id, ()), state)

    async def _tell_presence(self, state: PresenceState, room_nids: Iterable[int]) -> None:
        servers: set[ServerName] = set()
        for room_nid in room_nids:
            servers |= await self._servers.of(room_nid, state.pos)
        self._send_presence(servers, state)

    def _send_presence(self, servers: Iterable[ServerName], state: PresenceState) -> None:
        update = presence_update(state, self._clock.now_ms())
        if update is not None:
            self._recipients.ephemeral(
                servers, ("m.presence", state.user_id), edu.Presence((update,))
            )

    async def _room_id(self, room_nid: int) -> RoomID | None:
        found = self._room_ids.get(room_nid)
        if found is None:
            async with self._database.connection("federation_router") as connection:
                found = (await rooms.room_ids_of(connection, [room_nid])).get(room_nid)
            if found is not None:
                if len(self._room_ids) > _MAX_POSITIONS:
                    self._room_ids.clear()
                self._room_ids[room_nid] = found
        return found


class _Content(msgspec.Struct):
    membership: str = ""


class _Core(msgspec.Struct):
    content: _Content


_decode: Final = msgspec.json.Decoder(_Core).decode


def _was_joined(entry: EventEntry) -> bool:
    core = entry.record.replaced_core
    return core is not None and _decode(core).content.membership == "join"


def presence_update(state: PresenceState, now_ms: int) -> edu.PresenceUpdate | None:
    """Return what other servers are told of a user; None: nothing that they would understand."""
    if state.presence not in ("offline", "unavailable", "online"):
        return None
    return edu.PresenceUpdate(
        user_id=state.user_id,
        presence=state.presence,  # type: ignore[arg-type]  # checked above
        last_active_ago=max(0, now_ms - state.last_active_ts),
        status_msg=state.status_msg,
        currently_active=state.currently_active,
    )
