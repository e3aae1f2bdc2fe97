"""Login with a JSON Web Token that another system has signed.

Not in the specification: the login type `org.matrix.login.jwt`, as other homeservers have it.
"""

from typing import Any, Final

import jwt

from homeserver.config.sections.jwt import JwtSection
from homeserver.errors import Forbidden, InvalidUsername, MissingParam, UserInUse
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.accounts import Accounts
from homeserver.services.login import LoginForm
from homeserver.services.user_names import UserNames
from homeserver.storage.accounts import NewAccountRow
from homeserver.telemetry.clock import Clock


class JwtLogin:
    """Takes the word of another system for who a user is, and makes accounts as needed."""

    type: Final = "org.matrix.login.jwt"

    def __init__(
        self, settings: JwtSection, names: UserNames, accounts: Accounts, clock: Clock
    ) -> None:
        """`settings` have a secret, as the check of the configuration makes sure."""
        assert settings.secret is not None
        self._settings = settings
        self._key = settings.secret.reveal()
        self._names = names
        self._accounts = accounts
        self._clock = clock

    def flow(self) -> JsonObject:
        """Return the flow."""
        return {"type": self.type}

    async def authenticate(self, form: LoginForm) -> UserID:
        """Return the user that the token names. Raises Forbidden, MissingParam."""
        if form.token is None:
            raise MissingParam("token is missing")
        user_id = self._user_of(self._claims(form.token))
        if await self._accounts.get(user_id) is None:
            try:
                await self._accounts.create(NewAccountRow(user_id, self._clock.now_ms()))
            except UserInUse:
                # Another login of the same user was quicker.
                return user_id
        return user_id

    def _user_of(self, claims: dict[str, Any]) -> UserID:
        localpart = claims.get(self._settings.subject_claim)
        if not isinstance(localpart, str):
            raise Forbidden("The token names no user")
        try:
            return self._names.parse(localpart)
        except InvalidUsername as error:
            raise Forbidden("The token does not name a user ID that can exist") from error

    def _claims(self, token: str) -> dict[str, Any]:
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[settings.algorithm],
                issuer=settings.issuer,
                audience=settings.audiences or None,
                options={
                    # The injected clock decides; see `_check_times`.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_aud": bool(settings.audiences),
                    "verify_iss": settings.issuer is not None,
                },
            )
        except jwt.PyJWTError as error:
            raise Forbidden(f"JWT validation failed: {error}") from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._clock.now_ms() / 1000
        expires, begins = claims.get("exp"), claims.get("nbf")
        if not isinstance(expires, float | int | None) or not isinstance(
            begins, float | int | None
        ):
            raise Forbidden("JWT validation failed: exp and nbf must be numbers")
        if expires is not None and expires <= now:
            raise Forbidden("JWT validation failed: the token has expired")
        if begins is not None and begins > now:
            raise Forbidden("JWT validation failed: the token is not valid yet")
