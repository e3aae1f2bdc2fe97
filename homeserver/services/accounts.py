"""Local accounts as a whole. Others are told of their changes through the log."""

from collections.abc import Awaitable, Callable
from functools import partial

from homeserver.errors import NotFound, UserInUse
from homeserver.protocol.identifiers import UserID
from homeserver.services.account_changes import AccountChanges
from homeserver.services.profiles import name_new_user
from homeserver.storage import accounts
from homeserver.storage.accounts import AccountRow, NewAccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import ACCOUNT_CHANGED


class Accounts:
    """Makes accounts, looks them up, and sets what administrators decide."""

    def __init__(self, database: Database, changes: AccountChanges) -> None:
        self._database = database
        self._changes = changes

    async def get(self, user_id: UserID) -> AccountRow | None:
        """Return an account, deactivated ones too."""
        async with self._database.connection("account") as connection:
            return await accounts.account_of(connection, user_id)

    async def create(self, account: NewAccountRow) -> None:
        """Make an account. Raises UserInUse."""

        async def work(tx: Transaction) -> bool:
            if not await accounts.insert(tx, account):
                return False
            if not account.is_guest:
                await name_new_user(tx, account.user_id)
            return True

        if not await self._change(account.user_id, work, "create_account"):
            raise UserInUse

    async def set_admin(self, user_id: UserID, *, is_admin: bool) -> None:
        """Make a user an administrator of this server, or not. Raises NotFound."""
        work = partial(accounts.set_admin, user_id=user_id, is_admin=is_admin)
        await self._set(user_id, work, "set_admin")

    async def set_locked(self, user_id: UserID, *, is_locked: bool) -> None:
        """Lock or unlock an account. Raises NotFound.

        Spec: client-server-api/#account-locking
        """
        work = partial(accounts.set_locked, user_id=user_id, is_locked=is_locked)
        await self._set(user_id, work, "set_locked")

    async def set_suspended(self, user_id: UserID, *, is_suspended: bool) -> None:
        """Suspend an account, or end that. Raises NotFound.

        Spec: client-server-api/#account-suspension
        """
        work = partial(accounts.set_suspended, user_id=user_id, is_suspended=is_suspended)
        await self._set(user_id, work, "set_suspended")

    async def _set(
        self, user_id: UserID, work: Callable[[Transaction], Awaitable[bool]], operation: str
    ) -> None:
        if not await self._change(user_id, work, operation):
            raise NotFound("There is no such user")

    async def _change(
        self, user_id: UserID, work: Callable[[Transaction], Awaitable[bool]], operation: str
    ) -> bool:
        async def change(tx: Transaction) -> int | None:
            if not await work(tx):
                return None
            return await append_user_change(tx, user_id, ACCOUNT_CHANGED)

        position = await self._database.run_transaction(change, operation)
        if position is not None:
            await self._changes.committed(user_id, position)
        return position is not None
