"""Writing what a registration has led to: the account, and what it used up."""

from collections.abc import Mapping

import msgspec

from homeserver.errors import Forbidden, ThreepidInUse, UserInUse
from homeserver.protocol import uia as stages
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.account_changes import AccountChanges
from homeserver.services.email_stage import proven_address
from homeserver.services.guests import Guests
from homeserver.services.profiles import name_new_user
from homeserver.services.uia_stages import accepted_versions
from homeserver.storage import accounts, registration_tokens, third_party_ids, uia_sessions
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_changes
from homeserver.storage.third_party_ids import AddressRow
from homeserver.streams.entries import ACCOUNT_CHANGED
from homeserver.telemetry.clock import Clock


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user who has passed all stages."""

    user_id: UserID
    password_hash: str
    device_id: DeviceID
    # A guest becomes a full user.
    is_upgrade: bool


class AccountMaking:
    """Writes a registered account, once for each session of user-interactive authentication."""

    def __init__(
        self, database: Database, guests: Guests, changes: AccountChanges, clock: Clock
    ) -> None:
        self._database = database
        self._guests = guests
        self._changes = changes
        self._clock = clock

    async def make(
        self, new: NewUser, session_hash: bytes, proofs: Mapping[str, str]
    ) -> tuple[UserID, DeviceID]:
        """Return the account that the session has registered, now or before.

        Raises UserInUse; ThreepidInUse: its address; Forbidden: the session is over.
        """

        async def work(tx: Transaction) -> tuple[UserID, DeviceID, int | None]:
            return await self._make_once(tx, new, session_hash, proofs)

        user_id, device_id, position = await self._database.run_transaction(work, "register")
        if position is not None:
            await self._changes.committed(user_id, position)
        return user_id, device_id

    async def _make_once(
        self, tx: Transaction, new: NewUser, session_hash: bytes, proofs: Mapping[str, str]
    ) -> tuple[UserID, DeviceID, int | None]:
        if not await uia_sessions.lock_session(tx, session_hash):
            raise Forbidden("The authentication session is over")
        made, device_id = await uia_sessions.registered_by(tx, session_hash)
        if made is not None:
            assert device_id is not None
            return made, device_id, None
        changes: list[tuple[str, str | None]] = [(ACCOUNT_CHANGED, None)]
        if new.is_upgrade:
            changes += await self._guests.upgrade(
                tx, new.user_id, new.password_hash, kept=new.device_id
            )
        elif not await accounts.insert(tx, self._row(new)):
            raise UserInUse
        else:
            await name_new_user(tx, new.user_id)
        await uia_sessions.set_registered(tx, session_hash, new.user_id, new.device_id)
        await self._settle(tx, new.user_id, proofs)
        return new.user_id, new.device_id, await append_user_changes(tx, new.user_id, changes)

    def _row(self, new: NewUser) -> NewAccountRow:
        return NewAccountRow(new.user_id, self._clock.now_ms(), new.password_hash)

    async def _settle(self, tx: Transaction, user_id: UserID, proofs: Mapping[str, str]) -> None:
        token = proofs.get(stages.REGISTRATION_TOKEN)
        if token is not None:
            await registration_tokens.complete_use(tx, token)
        email = proven_address(proofs)
        if email is not None:
            row = AddressRow(email.medium, email.address, email.validated_ts, self._clock.now_ms())
            if not await third_party_ids.insert(tx, user_id, row):
                raise ThreepidInUse
        accepted = accepted_versions(proofs.get(stages.TERMS))
        if accepted:
            await accounts.accept_terms(tx, user_id, accepted, self._clock.now_ms())
