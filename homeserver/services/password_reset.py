"""Setting a new password with nothing but an e-mail address.

Spec: client-server-api/#password-management
"""

from typing import Final

import msgspec

from homeserver.errors import Forbidden, MissingParam, MissingToken
from homeserver.protocol import uia as stages
from homeserver.protocol.identifiers import UserID
from homeserver.services.account_changes import AccountChanges
from homeserver.services.devices import append_removals, remove_all
from homeserver.services.email_stage import RESET_PASSWORD, proven_address
from homeserver.services.password_change import PasswordForm
from homeserver.services.passwords import Passwords
from homeserver.services.uia import Operation, Uia, UiaRequest, body_without_auth
from homeserver.services.validation_sessions import Validated, ValidationSessions
from homeserver.storage import accounts, third_party_ids
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import ACCOUNT_CHANGED
from homeserver.web.params import RequestFacts

# Each reset needs consent: a mail is good for one.
_OPERATION: Final = Operation(name=RESET_PASSWORD, user_id=None, is_single_use=True)
_FLOWS: Final = ((stages.EMAIL_IDENTITY,),)


class PasswordReset:
    """Sets the password of whoever has verified the address of an account."""

    def __init__(
        self,
        uia: Uia,
        validations: ValidationSessions,
        passwords: Passwords,
        database: Database,
        changes: AccountChanges,
    ) -> None:
        self._uia = uia
        self._validations = validations
        self._passwords = passwords
        self._database = database
        self._changes = changes

    async def reset(self, form: PasswordForm, facts: RequestFacts) -> None:
        """Set a new password and, unless told otherwise, end all sessions of the user.

        Raises UiaRequired, MissingParam, WeakPassword, Forbidden; MissingToken: without e-mail
        nobody can prove who it is.
        """
        if not self._validations.is_offered:
            raise MissingToken
        if form.auth is None and form.new_password is None:
            raise MissingParam("new_password is missing")
        if form.new_password is not None:
            self._passwords.check_strength(form.new_password)
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        completed = await self._uia.require(_OPERATION, _FLOWS, request)
        form = msgspec.json.decode(completed.body, type=PasswordForm)
        validated = proven_address(completed.proofs)
        if form.new_password is None or validated is None:
            raise MissingParam("new_password is missing")
        password_hash = await self._passwords.hash(form.new_password)
        await self._store(validated, password_hash, ends_sessions=form.logout_devices is not False)

    async def _store(
        self, validated: Validated, password_hash: str, *, ends_sessions: bool
    ) -> None:
        async def work(tx: Transaction) -> tuple[UserID, int]:
            user_id = await third_party_ids.user_of(tx, validated.medium, validated.address)
            # The address may have been removed since the mail was sent.
            if user_id is None or not await accounts.set_password(tx, user_id, password_hash):
                raise Forbidden("No account has this address")
            if not ends_sessions:
                return user_id, await append_user_change(tx, user_id, ACCOUNT_CHANGED)
            removed = await remove_all(tx, user_id)
            return user_id, await append_removals(tx, user_id, removed)

        user_id, position = await self._database.run_transaction(work, "reset_password")
        await self._changes.committed(user_id, position)
