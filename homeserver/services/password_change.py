"""Changing one's password. Spec: client-server-api/#password-management"""

import msgspec

from homeserver.errors import MissingParam, UnknownToken
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_changes import AccountChanges
from homeserver.services.devices import append_removals, remove_all
from homeserver.services.passwords import Passwords
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.storage import accounts
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import ACCOUNT_CHANGED
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester


class PasswordForm(Body, frozen=True):
    """What a client sends to change the password; null counts as absent."""

    # Required, unless the session knows it: a request after a fallback page has only `auth`.
    new_password: str | None = None
    logout_devices: bool | None = None
    auth: JsonObject | None = None


class PasswordChange:
    """Changes passwords and, unless told otherwise, ends the user's other sessions."""

    def __init__(
        self,
        reauthentication: Reauthentication,
        passwords: Passwords,
        database: Database,
        changes: AccountChanges,
    ) -> None:
        self._reauthentication = reauthentication
        self._passwords = passwords
        self._database = database
        self._changes = changes

    async def change(self, requester: Requester, form: PasswordForm, facts: RequestFacts) -> None:
        """Change the password of who asks, after another proof of who that is.

        Raises UiaRequired, MissingParam, WeakPassword, Forbidden.
        """
        if form.auth is None and form.new_password is None:
            raise MissingParam("new_password is missing")
        if form.new_password is not None:
            self._passwords.check_strength(form.new_password)
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        completed = await self._reauthentication.confirm(
            requester, "change password", request, is_single_use=True
        )
        form = msgspec.json.decode(completed.body, type=PasswordForm)
        if form.new_password is None:
            raise MissingParam("new_password is missing")
        password_hash = await self._passwords.hash(form.new_password)
        await self._store(requester, password_hash, ends_sessions=form.logout_devices is not False)

    async def _store(
        self, requester: Requester, password_hash: str, *, ends_sessions: bool
    ) -> None:
        user_id = requester.user_id

        async def work(tx: Transaction) -> int:
            if not await accounts.set_password(tx, user_id, password_hash):
                raise UnknownToken
            if not ends_sessions:
                return await append_user_change(tx, user_id, ACCOUNT_CHANGED)
            removed = await remove_all(
                tx,
                user_id,
                except_device_id=requester.device_id,
                except_token_nid=requester.access_token_nid,
            )
            return await append_removals(tx, user_id, removed)

        position = await self._database.run_transaction(work, "change_password")
        await self._changes.committed(user_id, position)
