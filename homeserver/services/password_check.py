"""Whether a password is the right one, without telling which accounts exist."""

from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.services.login_identifiers import KnownAddresses, LoginIdentifier, NamedUser
from homeserver.services.passwords import Passwords
from homeserver.services.user_names import meant_user_ids
from homeserver.storage import accounts
from homeserver.storage.accounts import AccountRow
from homeserver.storage.database import Database
from homeserver.web.endpoint import RateLimit
from homeserver.web.rate_limit import RateLimiter


class PasswordCheck:
    """Verifies passwords; every account has a limit of its own, wherever the tries come from."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        passwords: Passwords,
        addresses: KnownAddresses,
        rate_limiter: RateLimiter,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._passwords = passwords
        self._addresses = addresses
        self._rate_limiter = rate_limiter

    async def meant_users(self, identifier: LoginIdentifier) -> tuple[UserID, ...]:
        """Return the users that an identifier may mean, whether they exist or not."""
        if isinstance(identifier, NamedUser):
            return meant_user_ids(identifier.name, self._server_name)
        user_id = await self._addresses.user_of(identifier.medium, identifier.address)
        return () if user_id is None else (user_id,)

    async def user_with(self, identifier: LoginIdentifier, password: str) -> UserID | None:
        """Return the user who is meant, if the password is theirs.

        Takes as long when there is no such user. Raises LimitExceeded.
        """
        meant = await self.meant_users(identifier)
        self._limit(meant[-1] if meant else "")
        account = await self._first_existing(meant)
        return account.user_id if await self._verify(account, password) and account else None

    async def is_right(self, user_id: UserID, password: str) -> bool:
        """Whether the password is the user's. Raises LimitExceeded."""
        self._limit(user_id)
        return await self._verify(await self._first_existing((user_id,)), password)

    def _limit(self, user_id: str) -> None:
        self._rate_limiter.take(RateLimit.LOGIN, f"password of {user_id}")

    async def _first_existing(self, user_ids: tuple[UserID, ...]) -> AccountRow | None:
        async with self._database.connection("password_check") as connection:
            for user_id in user_ids:
                account = await accounts.account_of(connection, user_id)
                if account is not None:
                    return account
        return None

    async def _verify(self, account: AccountRow | None, password: str) -> bool:
        stored = account.password_hash if account is not None else None
        verdict = await self._passwords.verify(password, stored)
        if verdict.is_outdated and account is not None and stored is not None:
            newer = await self._passwords.hash(password)
            async with self._database.connection("rehash_password") as connection:
                await accounts.rehash_password(connection, account.user_id, stored, newer)
        return verdict.is_right
