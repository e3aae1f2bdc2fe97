"""Users who take no invites. Spec: client-server-api/#invite-permission"""

from typing import Final

import msgspec

from homeserver.errors import InviteBlocked
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.storage import invite_permissions
from homeserver.storage.database import Database

_decode: Final = msgspec.json.Decoder(JsonObject).decode


class InvitePermissions:
    """Asks the account data of local users."""

    def __init__(self, database: Database, *, exempt: UserID | None) -> None:
        """`exempt`: whose invites nobody can block, that of server notices."""
        self._database = database
        self._exempt = exempt

    async def check(self, sender: UserID, target: UserID) -> None:
        """Raises InviteBlocked: the local user `target` takes no invites.

        For invites of local users, and for those that come over federation.
        """
        if sender != self._exempt and await self.blocks_all(target):
            raise InviteBlocked

    async def blocks_all(self, user_id: UserID) -> bool:
        """Whether a local user takes no invites."""
        async with self._database.connection("invite_permissions") as connection:
            configs = await invite_permissions.configs_of(connection, user_id)
        # "A missing, invalid or unsupported value means that the user wants to receive invites".
        return any(_decode(config).get("default_action") == "block" for config in configs)
