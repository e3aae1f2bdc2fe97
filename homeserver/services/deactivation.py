"""Ending accounts for good. Spec: client-server-api/#account-deactivation"""

from collections.abc import Iterable
from typing import Final, Protocol

from homeserver.errors import UnknownToken
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_changes import AccountChanges
from homeserver.services.devices import append_removals, remove_all
from homeserver.services.identity_bindings import UnbindResult
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.storage import (
    accounts,
    cross_signing,
    erased_users,
    key_backup,
    profiles,
    third_party_ids,
    uia_sessions,
)
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_changes
from homeserver.streams.entries import (
    ACCOUNT_CHANGED,
    ACCOUNT_ERASED,
    CROSS_SIGNING_CHANGED,
    PROFILE_CHANGED,
)
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.tasks import Tasks
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester

_BATCH: Final = 100


class AccountRooms(Protocol):
    """The rooms of an account that has ended."""

    async def leave_all(self, user_id: UserID) -> None:
        """Leave all rooms, reject all invites and withdraw all knocks; again does no harm."""
        ...


class AccountAddresses(Protocol):
    """The addresses by which others can find an account that ends."""

    async def unbind_all(
        self, user_id: UserID, addresses: Iterable[tuple[str, str]], id_server: str | None
    ) -> UnbindResult:
        """Have identity servers forget a user, and some (medium, address) besides."""
        ...


class DeactivationForm(Body, frozen=True):
    """What a client sends to deactivate the account; null counts as absent."""

    auth: JsonObject | None = None
    id_server: str | None = None
    erase: bool | None = None


class Deactivation:
    """Deactivates accounts. The rooms are left in the background, by another node if need be."""

    def __init__(
        self,
        reauthentication: Reauthentication,
        rooms: AccountRooms,
        addresses: AccountAddresses,
        database: Database,
        changes: AccountChanges,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._reauthentication = reauthentication
        self._rooms = rooms
        self._addresses = addresses
        self._database = database
        self._changes = changes
        self._tasks = tasks
        self._clock = clock

    async def ask(
        self, requester: Requester, form: DeactivationForm, facts: RequestFacts
    ) -> UnbindResult:
        """Deactivate the account of who asks, after another proof of who that is.

        Returns whether identity servers have forgotten all addresses of the user.
        Raises UiaRequired, Forbidden.
        """
        if requester.appservice_id is None:
            request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
            await self._reauthentication.confirm(requester, "deactivate account", request)
        async with self._database.connection("addresses") as connection:
            rows = await third_party_ids.addresses_of(connection, requester.user_id)
        if not await self.deactivate(requester.user_id, is_erased=form.erase is True):
            raise UnknownToken
        # An identity server may take its time, and its answer changes nothing.
        known = [(row.medium, row.address) for row in rows]
        return await self._addresses.unbind_all(requester.user_id, known, form.id_server)

    async def deactivate(self, user_id: UserID, *, is_erased: bool) -> bool:
        """Deactivate an account; False: there is no such active account.

        `is_erased`: who joins a room later gets redacted copies of the user's events, and
        everything else of the user is deleted.
        """

        async def work(tx: Transaction) -> int | None:
            now_ms = self._clock.now_ms()
            if not await accounts.deactivate(tx, user_id, now_ms, is_erased=is_erased):
                return None
            removed = await remove_all(tx, user_id)
            await uia_sessions.delete_of_user(tx, user_id)
            await third_party_ids.delete_all(tx, user_id)
            await key_backup.delete_all(tx, user_id)
            # MSC4133: "Profile data SHOULD be cleared when a user is deactivated".
            await profiles.delete_all(tx, user_id)
            changes: list[tuple[str, str | None]] = [
                (ACCOUNT_CHANGED, None),
                (PROFILE_CHANGED, None),
            ]
            if await cross_signing.delete_all(tx, user_id):
                changes.append((CROSS_SIGNING_CHANGED, None))
            if is_erased:
                await erased_users.delete_own_data(tx, user_id)
                changes.append((ACCOUNT_ERASED, None))
            # The last of these positions is that of the erasure.
            pos = await append_user_changes(tx, user_id, changes)
            if is_erased:
                await erased_users.add(tx, user_id, pos)
            return await append_removals(tx, user_id, removed)

        position = await self._database.run_transaction(work, "deactivate_account")
        if position is None:
            return False
        await self._changes.committed(user_id, position)
        self._tasks.spawn("leave rooms of deactivated user", self._leave(user_id))
        return True

    async def finish(self) -> None:
        """Leave the rooms of users whose leaving was interrupted; to be called now and then."""
        async with self._database.connection("leaving_users") as connection:
            leaving = await accounts.leaving_users(connection, _BATCH)
        for user_id in leaving:
            await self._leave(user_id)

    async def _leave(self, user_id: UserID) -> None:
        await self._rooms.leave_all(user_id)
        async with self._database.connection("mark_left") as connection:
            await accounts.mark_left(connection, user_id)
