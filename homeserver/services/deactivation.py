"""Ending accounts for good. Spec: client-server-api/#account-deactivation"""

from typing import Final, Protocol

from homeserver.errors import UnknownToken
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_changes import AccountChanges
from homeserver.services.devices import append_removals, remove_all
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.storage import accounts, profiles, uia_sessions
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_changes
from homeserver.streams.entries import ACCOUNT_CHANGED, PROFILE_CHANGED
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
        database: Database,
        changes: AccountChanges,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._reauthentication = reauthentication
        self._rooms = rooms
        self._database = database
        self._changes = changes
        self._tasks = tasks
        self._clock = clock

    async def ask(self, requester: Requester, form: DeactivationForm, facts: RequestFacts) -> None:
        """Deactivate the account of who asks, after another proof of who that is.

        Raises UiaRequired, Forbidden.
        """
        if requester.appservice_id is None:
            request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
            await self._reauthentication.confirm(requester, "deactivate account", request)
        if not await self.deactivate(requester.user_id, is_erased=form.erase is True):
            raise UnknownToken

    async def deactivate(self, user_id: UserID, *, is_erased: bool) -> bool:
        """Deactivate an account; False: there is no such active account.

        `is_erased`: who joins a room later gets redacted copies of the user's events.
        """

        async def work(tx: Transaction) -> int | None:
            now_ms = self._clock.now_ms()
            if not await accounts.deactivate(tx, user_id, now_ms, is_erased=is_erased):
                return None
            removed = await remove_all(tx, user_id)
            await uia_sessions.delete_of_user(tx, user_id)
            # MSC4133: "Profile data SHOULD be cleared when a user is deactivated".
            await profiles.delete_all(tx, user_id)
            await append_user_changes(
                tx, user_id, [(ACCOUNT_CHANGED, None), (PROFILE_CHANGED, None)]
            )
            return await append_removals(tx, user_id, removed)

        position = await self._database.run_transaction(work, "deactivate_account")
        if position is None:
            return False
        self._changes.committed(user_id, position)
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
