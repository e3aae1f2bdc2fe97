"""The devices of other servers' users: kept in step with what these servers tell of them.

Spec: server-server-api/#device-management
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final

from homeserver.errors import MatrixError, RemoteError
from homeserver.ports import RemoteDeviceLists
from homeserver.protocol.device_keys import (
    CrossSigningKey,
    InvalidKeys,
    Usage,
    parse_cross_signing_key,
    parse_device_keys,
    verify_cross_signature,
    visible_to,
)
from homeserver.protocol.edu import DeviceListUpdate, SigningKeyUpdate
from homeserver.protocol.errors import BadSignature, InvalidIdentifier
from homeserver.protocol.identifiers import (
    DeviceID,
    ServerName,
    UserID,
    parse_device_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.services.key_objects import encode
from homeserver.storage import remote_device_updates as updates
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.storage.remote_device_updates import WANTED, ListState
from homeserver.storage.remote_devices import RemoteDeviceRow
from homeserver.streams.entries import (
    CROSS_SIGNING_CHANGED,
    DEVICE_KEYS_CHANGED,
    EventEntry,
    LogEntry,
)
from homeserver.streams.follower import Stretch
from homeserver.streams.log_writer import LogWriter
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

FOLLOWER_NAME: Final = "remote device lists"
# How often lists are asked for whose servers did not answer, and how many of them.
RETRY_SECONDS: Final = 60.0
_MAX_RETRIED: Final = 100
# Questions to other servers at once, and of them to one: who is slow keeps nobody waiting.
_MAX_ASKING: Final = 10
_MAX_ASKING_ONE: Final = 2
# Questions to one server that wait for their turn. Of the others it is kept in mind in the
# database that they are to be put; until then clients have the server asked for the keys.
_MAX_WAITING: Final = 100
# Beyond this no device of a user is kept: the specification has no limit, and bots make many.
MAX_DEVICES: Final = 2_000
_MAX_NAME: Final = 255
_MAX_STREAM_ID: Final = 2**63 - 1


class RemoteDevices:
    """Keeps the lists of users with whom local users share rooms."""

    def __init__(
        self,
        database: Database,
        log_writer: LogWriter,
        remote: RemoteDeviceLists,
        tasks: Tasks,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._log_writer = log_writer
        self._remote = remote
        self._tasks = tasks
        self._own_name = own_name
        # Whether somebody has found out, since the question was put, that there is more.
        self._asking: dict[UserID, bool] = {}
        self._slots = asyncio.Semaphore(_MAX_ASKING)
        # Of servers to which questions wait.
        self._turns: dict[ServerName, _Turns] = {}

    async def receive_update(self, _origin: ServerName, update: DeviceListUpdate) -> None:
        """Take a change of one device. If an earlier one is missing, the list is asked for."""
        if await self._commit(partial(self._apply, update=update)):
            self._ask(update.user_id)

    async def receive_signing_keys(self, _origin: ServerName, update: SigningKeyUpdate) -> None:
        """Take new cross-signing keys; keys that are wrong are as if they were not there."""
        if await self._commit(partial(self._apply_signing_keys, update=update)):
            self._ask(update.user_id)

    async def keep(self, answered: Collection[UserID], unanswered: Collection[UserID] = ()) -> None:
        """Begin to keep the lists of users whose keys clients have asked for.

        Of those with whom a room is shared. Whoever was told no answer is told when there is one.
        """
        new: list[UserID] = []
        async with self._database.connection("remote_devices") as connection:
            for users, stream_id in ((answered, WANTED), (unanswered, 0)):
                if users:
                    new += await updates.add_wanted(
                        connection, self._own_name, list(users), stream_id
                    )
        for user_id in new:
            self._ask(user_id)

    async def retry(self) -> None:
        """Ask again for lists that could not be had."""
        async with self._database.connection("remote_devices") as connection:
            stale = await updates.stale_lists(connection, _MAX_RETRIED)
        for user_id in stale:
            self._ask(user_id)

    async def _commit(
        self, work: Callable[[Transaction], Awaitable[tuple[int | None, bool]]]
    ) -> bool:
        position, is_stale = await self._database.run_transaction(work, "remote_devices")
        if position is not None:
            self._log_writer.announce(position)
        return is_stale

    async def _apply(self, tx: Transaction, *, update: DeviceListUpdate) -> tuple[int | None, bool]:
        user_id = update.user_id
        if not await updates.shares_room(tx, self._own_name, user_id):
            return None, False
        state = await updates.lock_list(tx, user_id)
        # Whoever names no earlier one begins a sequence: some servers with each update, to have the
        # list asked for, and all with the same number.
        is_known = state is not None and not state.is_stale and bool(update.prev_id)
        if is_known and state is not None and update.stream_id <= state.stream_id:
            return None, False
        device = _device_of(update)
        # "If a server receives an EDU which refers to a prev_id it does not recognise, it must
        # resynchronise its list". What it knows is all up to the newest.
        is_next = (
            is_known
            and state is not None
            and all(each <= state.stream_id for each in update.prev_id)
            and (update.deleted or device is not None)
        )
        if not is_next:
            await updates.mark_stale(tx, user_id, update.stream_id)
        elif device is None:
            await updates.delete_device(tx, user_id, update.device_id)
        else:
            if await updates.count_devices(tx, user_id) >= MAX_DEVICES:
                return None, False
            await updates.put_device(tx, user_id, device)
        if is_next:
            await updates.set_stream_id(tx, user_id, update.stream_id)
        position = await append_user_change(
            tx, user_id, DEVICE_KEYS_CHANGED, device_id=update.device_id
        )
        return position, not is_next

    async def _apply_signing_keys(
        self, tx: Transaction, *, update: SigningKeyUpdate
    ) -> tuple[int | None, bool]:
        user_id = update.user_id
        master, self_signing = _cross_signing(user_id, update.master_key, update.self_signing_key)
        # Without the master key it cannot be told who has signed the other, and under a new one the
        # other is not what it was: the list has both.
        is_half = self_signing is None and (
            master is not None or update.self_signing_key is not None
        )
        if master is None and not is_half:
            return None, False
        if not await updates.shares_room(tx, self._own_name, user_id):
            return None, False
        state = await updates.lock_list(tx, user_id)
        if is_half:
            await updates.mark_stale(tx, user_id, 0 if state is None else state.stream_id)
        else:
            await updates.set_cross_signing(tx, user_id, master, self_signing)
        return await append_user_change(tx, user_id, CROSS_SIGNING_CHANGED), is_half

    def _ask(self, user_id: UserID) -> None:
        if user_id in self._asking:
            self._asking[user_id] = True
            return
        turns = self._turns.setdefault(server_name_of(user_id), _Turns())
        if turns.waiting >= _MAX_WAITING:
            return
        turns.waiting += 1
        self._asking[user_id] = False
        self._tasks.spawn("remote device list", self._ask_until_known(user_id, turns))

    async def _ask_until_known(self, user_id: UserID, turns: "_Turns") -> None:
        try:
            async with turns.slots, self._slots:
                while await self._resync(user_id) and self._asking[user_id]:
                    self._asking[user_id] = False
        finally:
            del self._asking[user_id]
            turns.waiting -= 1
            if not turns.waiting:
                self._turns.pop(server_name_of(user_id), None)

    async def _resync(self, user_id: UserID) -> bool:
        """Ask for a list once; whether its server has answered, or nobody wants it any more."""
        async with self._database.connection("remote_devices") as connection:
            before = await updates.state_of(connection, user_id)
        if before is None:
            return True
        try:
            answer = await self._remote.devices(user_id)
        except (RemoteError, MatrixError) as error:
            # It stays stale: clients that ask for the keys have the server asked then.
            log.info("device list cannot be had", user_id=user_id, reason=str(error))
            return False
        work = partial(self._take, user_id=user_id, before=before, answer=answer)
        await self._commit(work)
        return True

    async def _take(
        self, tx: Transaction, *, user_id: UserID, before: ListState, answer: JsonObject
    ) -> tuple[int | None, bool]:
        """Take a list; `before` is what was known when it was asked for."""
        stream_id = answer.get("stream_id")
        devices = answer.get("devices")
        if (
            not isinstance(stream_id, int)
            or not isinstance(devices, list)
            or not -_MAX_STREAM_ID <= stream_id <= _MAX_STREAM_ID
            or not await updates.shares_room(tx, self._own_name, user_id)
        ):
            return None, False
        rows = {
            row.device_id: row
            for each in devices[:MAX_DEVICES]
            if (row := _listed_device(user_id, each)) is not None
        }
        keys = _cross_signing(user_id, answer.get("master_key"), answer.get("self_signing_key"))
        now = await updates.lock_list(tx, user_id)
        if now is None or (now != before and not now.is_stale and stream_id < now.stream_id):
            # Another node was told more meanwhile.
            return None, False
        # An update that came meanwhile may not be in it.
        state = ListState(stream_id, is_stale=now.is_stale and now != before)
        await updates.replace_list(tx, user_id, state, *keys, list(rows.values()))
        if now == before and before.stream_id == WANTED:
            # Clients have been told the same as the answer to their question.
            return None, False
        return await append_user_change(tx, user_id, DEVICE_KEYS_CHANGED), False


class _Turns:
    """The questions to one server."""

    def __init__(self) -> None:
        self.waiting = 0
        self.slots = asyncio.Semaphore(_MAX_ASKING_ONE)


class ForgetRemoteDevices:
    """Deletes the lists of users whose servers tell nothing of them any more.

    No room is shared with them, so what is known of them grows old without notice.
    """

    def __init__(self, own_name: ServerName) -> None:
        self._suffix = f":{own_name}"
        self._own_name = own_name

    def concerns(self, entry: LogEntry) -> bool:
        """Whether somebody is not in a room any more."""
        return isinstance(entry, EventEntry) and any(
            change.key[0] == "m.room.member" and change.membership in ("leave", "ban", None)
            for change in entry.state_changes
        )

    async def handle(self, stretch: Stretch) -> None:
        """Look whether other rooms are shared."""
        users: set[str] = set()
        room_nids: set[int] = set()
        for entry in stretch.entries:
            for change in entry.state_changes if isinstance(entry, EventEntry) else ():
                if change.key[0] != "m.room.member" or change.membership == "join":
                    continue
                if change.key[1].endswith(self._suffix):
                    assert isinstance(entry, EventEntry)
                    room_nids.add(entry.room_nid)
                else:
                    users.add(change.key[1])
        async with stretch.done() as tx:
            await updates.forget_unshared(tx, self._own_name, list(users), list(room_nids))


def _device_of(update: DeviceListUpdate) -> RemoteDeviceRow | None:
    """Return the device as an update describes it; None: it is deleted, or its keys are wrong."""
    if update.deleted:
        return None
    if update.keys is None:
        return RemoteDeviceRow(update.device_id, None, _name(update.device_display_name))
    keys = _checked_keys(update.user_id, update.device_id, update.keys)
    if keys is None:
        return None
    return RemoteDeviceRow(update.device_id, keys, _name(update.device_display_name))


def _listed_device(user_id: UserID, listed: JsonValue) -> RemoteDeviceRow | None:
    if not isinstance(listed, dict):
        return None
    try:
        device_id = parse_device_id(listed.get("device_id") or "")
    except (InvalidIdentifier, TypeError, AttributeError):
        return None
    source = listed.get("keys")
    keys = _checked_keys(user_id, device_id, source) if source is not None else None
    return RemoteDeviceRow(device_id, keys, _name(listed.get("device_display_name")))


def _checked_keys(user_id: UserID, device_id: DeviceID, source: JsonValue) -> bytes | None:
    try:
        parsed = parse_device_keys(source, user_id, device_id)
    except InvalidKeys:
        return None
    signed = {name: value for name, value in parsed.source.items() if name != "unsigned"}
    return encode(visible_to(signed, user_id, None))


def _cross_signing(
    user_id: UserID, master: JsonValue, self_signing: JsonValue
) -> tuple[bytes | None, bytes | None]:
    """Return a master key, and a self-signing key if the master key beside it has signed it."""
    master_key = _cross_signing_key(user_id, Usage.MASTER, master)
    signing_key = _cross_signing_key(user_id, Usage.SELF_SIGNING, self_signing)
    if master_key is None or signing_key is None:
        return _stored(user_id, master_key), None
    try:
        verify_cross_signature(signing_key.source, master_key)
    except BadSignature:
        return _stored(user_id, master_key), None
    return _stored(user_id, master_key), _stored(user_id, signing_key)


def _cross_signing_key(user_id: UserID, usage: Usage, source: JsonValue) -> CrossSigningKey | None:
    try:
        return parse_cross_signing_key(source, user_id, usage)
    except InvalidKeys:
        return None


def _stored(user_id: UserID, key: CrossSigningKey | None) -> bytes | None:
    return None if key is None else encode(visible_to(key.source, user_id, None))


def _name(value: JsonValue) -> str | None:
    return value.replace("\0", "")[:_MAX_NAME] if isinstance(value, str) else None
