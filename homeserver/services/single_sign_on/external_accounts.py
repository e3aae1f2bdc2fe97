"""The accounts of people who prove at other providers who they are."""

from collections.abc import Sequence
from typing import Final

from homeserver.config.sections.registration import Policy
from homeserver.errors import MatrixError, UserInUse
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.third_party_ids import EMAIL
from homeserver.services.account_changes import AccountChanges
from homeserver.services.profiles import name_new_user
from homeserver.services.single_sign_on.attributes import Attributes
from homeserver.services.single_sign_on.provider import SignInFailed
from homeserver.services.user_names import UserNames
from homeserver.storage import accounts, external_identities, profiles, third_party_ids
from homeserver.storage.accounts import AccountRow, NewAccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.storage.third_party_ids import AddressRow
from homeserver.streams.entries import ACCOUNT_CHANGED
from homeserver.telemetry.clock import Clock

_DISPLAY_NAME: Final = "displayname"


class ExternalAccounts:
    """Finds, takes over and makes accounts."""

    def __init__(
        self,
        names: UserNames,
        database: Database,
        changes: AccountChanges,
        clock: Clock,
        policies: Sequence[Policy],
    ) -> None:
        """`policies` are accepted with every new account."""
        self._names = names
        self._database = database
        self._changes = changes
        self._clock = clock
        self.policies: Final = policies

    async def find(self, provider_id: str, subject: str) -> UserID | None:
        """Return the user with an identity. Raises SignInFailed: the account has ended."""
        async with self._database.connection("external_identity") as connection:
            user_id = await external_identities.user_of(connection, provider_id, subject)
            if user_id is None:
                return None
            account = await accounts.account_of(connection, user_id)
        if account is None or account.deactivated_ts is not None:
            raise SignInFailed("This account has been deactivated")
        if account.is_locked:
            raise SignInFailed("This account has been locked")
        return user_id

    async def take_over(self, provider_id: str, subject: str, localpart: str) -> UserID | None:
        """Give an existing account to an identity; None: there is none that may be given."""
        try:
            user_id = self._names.parse(localpart)
        except MatrixError:
            return None

        async def work(tx: Transaction) -> bool:
            account = await accounts.lock_account(tx, user_id)
            if account is None or not _may_be_given(account):
                return False
            if await external_identities.is_linked(tx, provider_id, user_id):
                return False
            now_ms = self._clock.now_ms()
            return await external_identities.insert(tx, provider_id, subject, user_id, now_ms)

        is_given = await self._database.run_transaction(work, "take_over_account")
        return user_id if is_given else None

    async def is_free(self, localpart: str) -> bool:
        """Whether a new account may have a name."""
        try:
            await self._names.available(localpart)
        except MatrixError:
            return False
        return True

    async def create(
        self, provider_id: str, subject: str, localpart: str, attributes: Attributes
    ) -> UserID:
        """Make the account of an identity. Raises InvalidUsername, Exclusive, UserInUse."""
        user_id = self._names.parse(localpart)

        async def work(tx: Transaction) -> int | None:
            now_ms = self._clock.now_ms()
            if not await accounts.insert(tx, NewAccountRow(user_id, now_ms)):
                raise UserInUse
            # Another request with the same identity was quicker: one of both is rolled back.
            if not await external_identities.insert(tx, provider_id, subject, user_id, now_ms):
                raise UserInUse("You have got an account at this moment")
            await self._furnish(tx, user_id, attributes, now_ms)
            return await append_user_change(tx, user_id, ACCOUNT_CHANGED)

        position = await self._database.run_transaction(work, "create_external_account")
        if position is not None:
            await self._changes.committed(user_id, position)
        return user_id

    async def _furnish(
        self, tx: Transaction, user_id: UserID, attributes: Attributes, now_ms: int
    ) -> None:
        if attributes.display_name is None:
            await name_new_user(tx, user_id)
        else:
            value = encode_canonical(attributes.display_name)
            await profiles.put(tx, user_id, _DISPLAY_NAME, value)
        if attributes.email is not None:
            # Somebody else's address stays where it is.
            row = AddressRow(EMAIL, attributes.email, now_ms, now_ms)
            await third_party_ids.insert(tx, user_id, row)
        if self.policies:
            versions = [(each.id, each.version) for each in self.policies]
            await accounts.accept_terms(tx, user_id, versions, now_ms)


def _may_be_given(account: AccountRow) -> bool:
    # One that is locked is given too: else its owner would get another one.
    return account.deactivated_ts is None and not account.is_guest and account.appservice_id is None
