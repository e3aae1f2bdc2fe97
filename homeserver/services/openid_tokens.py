"""OpenID tokens: a user shows who they are to a third party. Spec: client-server-api/#openid"""

import secrets
from typing import Final

import msgspec

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.services.access_tokens import hash_token
from homeserver.storage import openid_tokens
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# Not in the specification but in its example: the third party shows the token at once.
LIFETIME_SECONDS: Final = 3600
_TOKEN_BYTES: Final = 32


class OpenIDToken(msgspec.Struct, frozen=True):
    """What the user hands to the third party."""

    access_token: str
    matrix_server_name: ServerName
    expires_in: int = LIFETIME_SECONDS
    token_type: str = "Bearer"  # noqa: S105 - the kind, no secret


class OpenIDTokens:
    """Makes tokens, which log in nowhere, and says whose they are."""

    def __init__(self, database: Database, server_name: ServerName, clock: Clock) -> None:
        self._database = database
        self._server_name = server_name
        self._clock = clock

    async def make(self, requester: Requester, user_id: UserID) -> OpenIDToken:
        """Make a token for who asks. Raises Forbidden: `user_id` is somebody else."""
        if user_id != requester.user_id:
            raise Forbidden("You can only request tokens for yourself")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        expires_ts = self._clock.now_ms() + LIFETIME_SECONDS * 1000
        async with self._database.connection("make_openid_token") as connection:
            await openid_tokens.insert(connection, hash_token(token), user_id, expires_ts)
        return OpenIDToken(token, self._server_name)

    async def owner(self, token: str) -> UserID | None:
        """Return whose token it is; None: it is unknown or has expired, or the account ended.

        `token` is any text from outside.
        Spec: server-server-api/#get_matrixfederationv1openiduserinfo
        """
        async with self._database.connection("openid_owner") as connection:
            return await openid_tokens.owner_of(connection, hash_token(token), self._clock.now_ms())
