"""Names of local users: what may be registered, and whom a login means.

Spec: appendices/#user-identifiers
"""

import secrets
import string
from typing import Final, Protocol

from homeserver.errors import InvalidUsername, UserInUse
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    ServerName,
    UserID,
    is_new_localpart,
    localpart_of,
    server_name_of,
    user_id,
)
from homeserver.protocol.identifiers import parse_user_id as parse
from homeserver.storage import accounts
from homeserver.storage.database import Database

# Easy to read out: no vowels that make words, no letters that look like digits.
_LETTERS: Final = "bcdfghjkmnpqrstvwxz23456789"
# ASCII only: the Kelvin sign is no `k`.
_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_GENERATED_LENGTH: Final = 13  # 27^13 is 2^61: nobody meets a name that is taken


class ReservedNames(Protocol):
    """Knows the user IDs that application services have reserved for themselves."""

    def check(self, user_id: UserID, *, appservice_id: str | None) -> None:
        """Raise Exclusive unless this application service, or anybody, may have the user ID.

        Spec: application-service-api/#registration
        """
        ...


class NothingReserved:
    """The reserved names of a server without application services."""

    def check(self, user_id: UserID, *, appservice_id: str | None) -> None:
        """Every user ID is free."""


class UserNames:
    """Gives names to new users."""

    def __init__(
        self, server_name: ServerName, database: Database, reserved: ReservedNames
    ) -> None:
        self.server_name: Final = server_name
        self._database = database
        self._reserved = reserved

    def parse(self, username: str, *, appservice_id: str | None = None) -> UserID:
        """Return the user ID that a wanted name leads to, in lower case.

        Raises InvalidUsername, Exclusive.
        """
        localpart = username.translate(_TO_LOWER)
        if not is_new_localpart(localpart):
            raise InvalidUsername("User IDs may only have a-z, 0-9, and the characters ._=-/+")
        try:
            wanted = user_id(localpart, self.server_name)
        except InvalidIdentifier as error:
            raise InvalidUsername("The user ID would be longer than 255 bytes") from error
        self._reserved.check(wanted, appservice_id=appservice_id)
        return wanted

    async def available(self, username: str, *, appservice_id: str | None = None) -> UserID:
        """Return the user ID that a wanted name leads to, if nobody has it.

        Raises InvalidUsername, Exclusive, UserInUse.
        """
        wanted = self.parse(username, appservice_id=appservice_id)
        async with self._database.connection("username_available") as connection:
            if await accounts.account_of(connection, wanted) is not None:
                raise UserInUse
        return wanted

    def generated(self, prefix: str = "") -> UserID:
        """Return a user ID that nobody has or will guess."""
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_GENERATED_LENGTH))
        return user_id(prefix + letters, self.server_name)


def meant_user_ids(text: str, server_name: ServerName) -> tuple[UserID, ...]:
    """Return the user IDs of this server that a login may mean, the likeliest first.

    `text` is a user ID or a localpart. Users reach each other "as @USER:matrix.org" too, while
    old accounts may have upper case in their names: the exact name counts first.
    """
    try:
        exact = parse(text) if text.startswith("@") else user_id(text, server_name)
        lower = user_id(localpart_of(exact).translate(_TO_LOWER), server_name)
    except InvalidIdentifier:
        return ()
    if server_name_of(exact).lower() != server_name.lower():
        return ()
    return (exact,) if exact == lower else (exact, lower)
