"""Tokens that log in once, within minutes.

Spec: client-server-api/#post_matrixclientv1loginget_token
"""

from typing import Final

from homeserver.errors import Forbidden, MissingParam
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.access_tokens import hash_token
from homeserver.services.login import LoginForm
from homeserver.services.token_issue import new_token
from homeserver.storage import login_tokens
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock


class LoginTokens:
    """Issues login tokens and takes them back."""

    def __init__(self, database: Database, clock: Clock, *, lifetime_ms: int) -> None:
        self.lifetime_ms: Final = lifetime_ms
        self._database = database
        self._clock = clock

    async def issue(self, user_id: UserID) -> str:
        """Return a token that logs a user in once."""
        token = new_token("hsl")
        expires_ts = self._clock.now_ms() + self.lifetime_ms
        async with self._database.connection("issue_login_token") as connection:
            await login_tokens.insert(connection, hash_token(token), user_id, expires_ts)
        return token

    async def take(self, token: str) -> UserID | None:
        """Use a token up and return whose it was; None: unknown, used or expired."""
        async with self._database.connection("take_login_token") as connection:
            return await login_tokens.take(connection, hash_token(token), self._clock.now_ms())


class TokenLogin:
    """Login with a login token. Spec: client-server-api/#legacy-login"""

    type: Final = "m.login.token"

    def __init__(self, tokens: LoginTokens, *, is_given_to_users: bool) -> None:
        """`is_given_to_users`: users may have tokens made (`get_token`)."""
        self._tokens = tokens
        self._is_given_to_users = is_given_to_users

    def flow(self) -> JsonObject:
        """Return the flow."""
        more = {"get_login_token": True} if self._is_given_to_users else {}
        return {"type": self.type, **more}

    async def authenticate(self, form: LoginForm) -> UserID:
        """Return whose token it is. Raises Forbidden, MissingParam."""
        if form.token is None:
            raise MissingParam("token is missing")
        user_id = await self._tokens.take(form.token)
        if user_id is None:
            raise Forbidden("Invalid login token")
        return user_id
