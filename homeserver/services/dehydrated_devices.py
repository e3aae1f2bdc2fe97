"""Dehydrated devices: they collect room keys while their user has no session.

Each user has at most one. It is a device like others, but for a session: its keys are queried and
claimed, and messages wait for it, until a client of the user wakes it up. Spec: MSC3814
"""

import re
from typing import Final, NamedTuple

import msgspec

from homeserver.errors import Forbidden, InvalidParam, MissingParam, NotFound, TooLarge
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_changes import AccountChanges
from homeserver.services.device_keys import (
    KeysForm,
    KeysUpload,
    read_upload,
    store_upload,
    verify_upload,
)
from homeserver.services.devices import append_removals, removal_changes, shortened_name
from homeserver.services.to_device_inbox import messages_after
from homeserver.storage import dehydrated_devices, devices
from homeserver.storage.database import Database, Transaction
from homeserver.storage.dehydrated_devices import DehydratedDeviceRow
from homeserver.storage.log import append_user_changes
from homeserver.streams.entries import DEVICE_CHANGED
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock

# Not in the proposal. A hundred one-time keys with their secrets take some 20 kB.
MAX_DEVICE_DATA_BYTES: Final = 256 * 1024
# Where a batch of messages ends. Positions fit PostgreSQL's bigint.
_TOKEN: Final = re.compile(r"d(0|[1-9][0-9]{0,17})")

_encode: Final = msgspec.json.Encoder().encode


class NewDehydratedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that a client leaves here, with its keys."""

    device_id: DeviceID
    device_data: JsonObject
    display_name: str | None
    keys: KeysForm


class MessagesPage(NamedTuple):
    """Messages as JSON, in order, and the token for those after them, of which some may wait."""

    events: list[bytes]
    next_batch: str
    has_more: bool


class DehydratedDevices:
    """Keeps dehydrated devices."""

    def __init__(
        self,
        database: Database,
        changes: AccountChanges,
        tail: Tail,
        clock: Clock,
    ) -> None:
        self._database = database
        self._changes = changes
        self._tail = tail
        self._clock = clock

    async def put(self, user_id: UserID, new: NewDehydratedDevice) -> None:
        """Keep a device in the place of the one before, of which nothing is left.

        Raises MissingParam, InvalidParam: another device has the ID; TooLarge, InvalidKeys,
        InvalidSignature.
        """
        row = DehydratedDeviceRow(new.device_id, _device_data(new.device_data))
        upload = read_upload(new.keys, user_id, new.device_id)
        if upload.device_keys is None:
            raise MissingParam("device_keys is missing")
        await verify_upload(upload, upload.device_keys)

        async def work(tx: Transaction) -> int:
            await dehydrated_devices.lock(tx, user_id)
            return await self._replace(tx, user_id, new, row, upload)

        await self._committed(
            user_id, await self._database.run_transaction(work, "put_dehydrated_device")
        )

    async def get(self, user_id: UserID) -> DehydratedDeviceRow:
        """Return the dehydrated device. Raises NotFound."""
        async with self._database.connection("dehydrated_device") as connection:
            row = await dehydrated_devices.of_user(connection, user_id)
        if row is None:
            raise NotFound("No dehydrated device available")
        return row

    async def delete(self, user_id: UserID) -> DeviceID:
        """Delete the dehydrated device and return its ID. Raises NotFound."""

        async def work(tx: Transaction) -> tuple[DeviceID, int]:
            await dehydrated_devices.lock(tx, user_id)
            row = await dehydrated_devices.of_user(tx, user_id)
            if row is None:
                raise NotFound("No dehydrated device available")
            removed = await devices.delete(tx, user_id, [row.device_id])
            return row.device_id, await append_removals(tx, user_id, removed)

        device_id, position = await self._database.run_transaction(work, "delete_dehydrated_device")
        await self._committed(user_id, position)
        return device_id

    async def messages(
        self, user_id: UserID, device_id: DeviceID, token: str | None
    ) -> MessagesPage:
        """Return messages to the dehydrated device, after those that came with a token.

        They stay: "in the case the rehydration process gets aborted, another device will be able
        to restart the process". Raises Forbidden: the device is another one; InvalidParam.
        """
        match = None if token is None else _TOKEN.fullmatch(token)
        if token is not None and match is None:
            raise InvalidParam("Unknown token")
        async with self._database.connection("dehydrated_device") as connection:
            row = await dehydrated_devices.of_user(connection, user_id)
            if row is None or row.device_id != device_id:
                raise Forbidden("This is not your dehydrated device")
            after = 0 if match is None else int(match[1])
            now = self._tail.position
            page = await messages_after(connection, user_id, device_id, after, now)
        told_upto = page.told_upto or (now if page.events else after)
        return MessagesPage(list(page.events), f"d{told_upto}", page.told_upto is not None)

    async def _replace(
        self,
        tx: Transaction,
        user_id: UserID,
        new: NewDehydratedDevice,
        row: DehydratedDeviceRow,
        upload: KeysUpload,
    ) -> int:
        before = await dehydrated_devices.of_user(tx, user_id)
        # Also where the ID is the same: of the old keys the client has nothing any more.
        removed = [] if before is None else await devices.delete(tx, user_id, [before.device_id])
        name = shortened_name(new.display_name)
        if not await devices.add(tx, user_id, row.device_id, name, self._clock.now_ms()):
            raise InvalidParam("You have another device with this ID")
        await dehydrated_devices.insert(tx, user_id, row)
        changes = removal_changes(removed) if removed else []
        changes.append((DEVICE_CHANGED, row.device_id))
        changes += await store_upload(tx, user_id, row.device_id, upload, upload.device_keys)
        return await append_user_changes(tx, user_id, changes)

    async def _committed(self, user_id: UserID, position: int) -> None:
        await self._changes.committed(user_id, position)
        await self._tail.reach(position)


def _device_data(device_data: JsonObject) -> bytes:
    if "algorithm" not in device_data:
        raise MissingParam("device_data.algorithm is missing")
    if not isinstance(device_data["algorithm"], str):
        raise InvalidParam("device_data.algorithm must be a string")
    encoded = _encode(device_data)
    if len(encoded) > MAX_DEVICE_DATA_BYTES:
        raise TooLarge(f"device_data is larger than {MAX_DEVICE_DATA_BYTES} bytes")
    return encoded
