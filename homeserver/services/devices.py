"""The devices of local users. Spec: client-server-api/#device-management"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from homeserver.errors import NotFound, TooLarge
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.account_changes import AccountChanges
from homeserver.storage import access_tokens, devices, login_tokens
from homeserver.storage.database import Database, Transaction
from homeserver.storage.devices import DeviceRow, RemovedDevice
from homeserver.storage.log import append_user_change, append_user_changes
from homeserver.streams.entries import DEVICE_CHANGED, DEVICE_KEYS_CHANGED, TOKENS_REVOKED
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# Not in the specification: other users see the name, and every server keeps it.
MAX_DISPLAY_NAME: Final = 100


class Device(Struct, frozen=True):
    """A device, as its user sees it.

    What is not known is null. COMPAT(matrix-nio): it takes no answer where a member is absent.
    """

    device_id: DeviceID
    display_name: str | None = None
    last_seen_ip: str | None = None
    last_seen_ts: int | None = None


class Devices:
    """Lists, renames, makes and removes devices."""

    def __init__(self, database: Database, changes: AccountChanges, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def all_of(self, user_id: UserID) -> list[Device]:
        """List a user's devices, oldest first."""
        async with self._database.connection("devices") as connection:
            rows = await devices.devices_of(connection, user_id)
        return [_seen_by_user(row) for row in rows]

    async def get(self, user_id: UserID, device_id: DeviceID) -> Device:
        """Return one device. Raises NotFound."""
        async with self._database.connection("device") as connection:
            row = await devices.device_of(connection, user_id, device_id)
        if row is None:
            raise NotFound("You have no such device")
        return _seen_by_user(row)

    async def rename(self, user_id: UserID, device_id: DeviceID, display_name: str | None) -> None:
        """Give a device another display name; None leaves it. Raises NotFound, TooLarge."""
        if display_name is None:
            await self.get(user_id, device_id)
            return
        _check_name(display_name)

        async def work(tx: Transaction) -> int:
            if not await devices.rename(tx, user_id, device_id, display_name):
                raise NotFound("You have no such device")
            return await append_user_change(tx, user_id, DEVICE_CHANGED, device_id=device_id)

        await self._changes.committed(
            user_id, await self._database.run_transaction(work, "rename_device")
        )

    async def create(self, user_id: UserID, device_id: DeviceID, display_name: str | None) -> bool:
        """Make a device for an application service's user; False: it exists. Raises TooLarge.

        Spec: application-service-api/#creating-devices
        """
        if display_name is not None:
            _check_name(display_name)

        async def work(tx: Transaction) -> int | None:
            if not await devices.add(tx, user_id, device_id, display_name, self._clock.now_ms()):
                return None
            return await append_user_change(tx, user_id, DEVICE_CHANGED, device_id=device_id)

        position = await self._database.run_transaction(work, "create_device")
        if position is not None:
            await self._changes.committed(user_id, position)
        return position is not None

    async def remove(self, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """Remove devices with their tokens; those that do not exist are removed already."""

        async def work(tx: Transaction) -> int | None:
            removed = await devices.delete(tx, user_id, device_ids)
            return await append_removals(tx, user_id, removed) if removed else None

        position = await self._database.run_transaction(work, "remove_devices")
        if position is not None:
            await self._changes.committed(user_id, position)

    async def log_out(self, requester: Requester) -> None:
        """End the session of a request, with its device. Spec: client-server-api/#login"""
        if requester.device_id is not None:
            await self.remove(requester.user_id, [requester.device_id])
            return
        token_nid = requester.access_token_nid
        if token_nid is None:
            return

        async def work(tx: Transaction) -> int:
            await access_tokens.delete(tx, token_nid)
            return await append_user_change(tx, requester.user_id, TOKENS_REVOKED)

        position = await self._database.run_transaction(work, "log_out")
        await self._changes.committed(requester.user_id, position)

    async def log_out_everywhere(self, user_id: UserID) -> None:
        """End all sessions of a user, with their devices."""

        async def work(tx: Transaction) -> int:
            return await append_removals(tx, user_id, await remove_all(tx, user_id))

        position = await self._database.run_transaction(work, "log_out_everywhere")
        await self._changes.committed(user_id, position)


async def remove_all(
    tx: Transaction,
    user_id: UserID,
    *,
    except_device_id: DeviceID | None = None,
    except_token_nid: int | None = None,
) -> list[RemovedDevice]:
    """Delete a user's devices and whatever else logs in, except one session; say which."""
    removed = await devices.delete_all(tx, user_id, except_device_id=except_device_id)
    await access_tokens.delete_without_device(tx, user_id, except_nid=except_token_nid)
    await login_tokens.delete_of_user(tx, user_id)
    return removed


async def append_removals(
    tx: Transaction, user_id: UserID, removed: Sequence[RemovedDevice]
) -> int:
    """Tell the log of revoked tokens and of each removed device; the last act."""
    return await append_user_changes(tx, user_id, removal_changes(removed))


def removal_changes(removed: Sequence[RemovedDevice]) -> list[tuple[str, str | None]]:
    """Return what the log is to be told of removed devices, as (kind, device ID)."""
    changes: list[tuple[str, str | None]] = [(TOKENS_REVOKED, None)]
    for device in removed:
        changes.append((DEVICE_CHANGED, device.device_id))
        if device.had_keys:
            changes.append((DEVICE_KEYS_CHANGED, device.device_id))
    return changes


def shortened_name(display_name: str | None) -> str | None:
    """Cut the name that a login brings: nobody is kept out for the name of a device."""
    return display_name[:MAX_DISPLAY_NAME] if display_name else None


def _seen_by_user(row: DeviceRow) -> Device:
    # A Unix socket without a proxy tells no address.
    return Device(row.device_id, row.display_name, row.last_seen_ip or None, row.last_seen_ts)


def _check_name(display_name: str) -> None:
    if len(display_name) > MAX_DISPLAY_NAME:
        raise TooLarge(
            f"The display name of a device may have {MAX_DISPLAY_NAME} characters", status=400
        )
