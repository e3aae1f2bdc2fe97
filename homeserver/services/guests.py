"""Guest accounts. Spec: client-server-api/#guest-access"""

from typing import Final

from homeserver.errors import Forbidden, InvalidUsername, MissingParam
from homeserver.protocol.identifiers import DeviceID, UserID, localpart_of
from homeserver.services.access_tokens import hash_token
from homeserver.services.accounts import Accounts
from homeserver.services.devices import removal_changes, remove_all
from homeserver.services.sessions import OpenedSession, Sessions, WantedSession
from homeserver.services.user_names import UserNames
from homeserver.storage import access_tokens, accounts
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.telemetry.clock import Clock

_PREFIX: Final = "guest-"


class Guests:
    """Makes guests, and full users of them."""

    def __init__(
        self,
        names: UserNames,
        accounts: Accounts,
        sessions: Sessions,
        database: Database,
        clock: Clock,
    ) -> None:
        self._names = names
        self._accounts = accounts
        self._sessions = sessions
        self._database = database
        self._clock = clock

    async def register(self, display_name: str | None) -> OpenedSession:
        """Make a guest with a device, whose name is given, and log it in."""
        user_id = self._names.generated(_PREFIX)
        await self._accounts.create(NewAccountRow(user_id, self._clock.now_ms(), is_guest=True))
        return await self._sessions.open(user_id, WantedSession(display_name=display_name))

    async def check_upgrade(self, guest_access_token: str, username: str | None) -> UserID:
        """Return the guest who wants to become a full user, under the name it has.

        Raises Forbidden: the token is no guest's; MissingParam, InvalidUsername.
        """
        if username is None:
            raise MissingParam("username must be the localpart of the guest")
        async with self._database.connection("guest_token") as connection:
            token = await access_tokens.token_of(connection, hash_token(guest_access_token))
        if token is None or not token.is_guest:
            raise Forbidden("guest_access_token is not the token of a guest")
        if token.expires_ts is not None and token.expires_ts <= self._clock.now_ms():
            raise Forbidden("guest_access_token has expired")
        if localpart_of(token.user_id) != username:
            raise InvalidUsername("A guest keeps its user ID: username must be its localpart")
        return token.user_id

    async def upgrade(
        self, tx: Transaction, user_id: UserID, password_hash: str, *, kept: DeviceID
    ) -> list[tuple[str, str | None]]:
        """Make a full user of a guest and end its sessions; one device may stay.

        Returns the changes to be logged. Raises Forbidden: the user is no guest any more.
        """
        if not await accounts.upgrade_guest(tx, user_id, password_hash):
            raise Forbidden("The user is not a guest any more")
        return removal_changes(await remove_all(tx, user_id, except_device_id=kept))
