"""What administrators see and decide of accounts.

Spec: client-server-api/#server-administration, #account-locking, #account-suspension
"""

from typing import Final

from msgspec import UNSET, Struct, UnsetType

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.accounts import Accounts
from homeserver.storage import devices
from homeserver.storage.accounts import AccountRow
from homeserver.storage.database import Database
from homeserver.storage.devices import DeviceRow
from homeserver.telemetry.log import get_logger
from homeserver.web.requester import Requester

log = get_logger(__name__)

_MODERATION: Final[JsonObject] = {"suspend": True, "lock": True}


class SeenConnection(Struct, frozen=True):
    """Where a device was seen last, and when in ms."""

    ip: str | UnsetType = UNSET
    last_seen: int | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET


class SeenSession(Struct, frozen=True):
    """What was done with the token of one login; only the last connection is kept."""

    connections: list[SeenConnection]


class SeenDevice(Struct, frozen=True):
    """A device, which has one session."""

    sessions: list[SeenSession]


class Whois(Struct, frozen=True):
    """A user and the devices by their IDs."""

    user_id: UserID
    devices: dict[DeviceID, SeenDevice]


class AccountModeration:
    """Locks and suspends accounts, and tells from where they are used."""

    def __init__(self, database: Database, accounts: Accounts, server_name: ServerName) -> None:
        self._database = database
        self._accounts = accounts
        self._server_name = server_name

    async def is_locked(self, requester: Requester, target: UserID) -> bool:
        """Whether an account is locked. Raises Forbidden, InvalidParam, NotFound."""
        return (await self._subject(requester, target)).is_locked

    async def is_suspended(self, requester: Requester, target: UserID) -> bool:
        """Whether an account is suspended. Raises Forbidden, InvalidParam, NotFound."""
        return (await self._subject(requester, target)).is_suspended

    async def set_locked(self, requester: Requester, target: UserID, *, is_locked: bool) -> None:
        """Lock or unlock an account. Raises Forbidden: not an administrator's; like `is_locked`."""
        account = await self._subject(requester, target, is_change=True)
        if account.is_locked != is_locked:
            await self._accounts.set_locked(target, is_locked=is_locked)
            log.info("account lock set", admin=requester.user_id, is_locked=is_locked)

    async def set_suspended(
        self, requester: Requester, target: UserID, *, is_suspended: bool
    ) -> None:
        """Suspend an account, or end that. Raises like `set_locked`."""
        account = await self._subject(requester, target, is_change=True)
        if account.is_suspended != is_suspended:
            await self._accounts.set_suspended(target, is_suspended=is_suspended)
            log.info("account suspension set", admin=requester.user_id, is_suspended=is_suspended)

    async def whois(self, requester: Requester, target: UserID) -> Whois:
        """Return when and from where a user's devices were seen last.

        Raises Forbidden: the requester is neither the user nor an administrator; InvalidParam,
        NotFound.
        """
        if requester.user_id != target:
            self._check_admin(requester)
        await self._account(target)
        async with self._database.connection("whois") as connection:
            rows = await devices.devices_of(connection, target)
        return Whois(target, {row.device_id: _seen(row) for row in rows})

    async def _subject(
        self, requester: Requester, target: UserID, *, is_change: bool = False
    ) -> AccountRow:
        # "…authorisation is checked prior to trying to do account lookups."
        self._check_admin(requester)
        if is_change and requester.user_id == target:
            raise Forbidden("You cannot do this to your own account")
        account = await self._account(target)
        if account.deactivated_ts is not None:
            raise NotFound("User not found")
        # "…or the target user is another administrator."
        if account.is_admin and requester.user_id != target:
            raise Forbidden("The user is an administrator, too")
        return account

    async def _account(self, target: UserID) -> AccountRow:
        if server_name_of(target) != self._server_name:
            raise InvalidParam("User does not belong to the local server")
        account = await self._accounts.get(target)
        if account is None:
            raise NotFound("User not found")
        return account

    def _check_admin(self, requester: Requester) -> None:
        if not requester.is_admin:
            raise Forbidden("Only administrators of this server may do this")


async def moderation_capability(requester: Requester) -> JsonObject | None:
    """Return `m.account_moderation`, which only administrators have."""
    return _MODERATION if requester.is_admin else None


def _seen(row: DeviceRow) -> SeenDevice:
    if row.last_seen_ts is None:
        return SeenDevice([SeenSession([])])
    connection = SeenConnection(
        row.last_seen_ip or UNSET, row.last_seen_ts, row.last_seen_user_agent or UNSET
    )
    return SeenDevice([SeenSession([connection])])
