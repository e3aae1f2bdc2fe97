"""What has to happen when a change of an account is committed."""

from typing import Protocol

from homeserver.protocol.identifiers import UserID
from homeserver.services.token_cache import TokenCache


class Announcer(Protocol):
    """Tells this node and the others how far the log has reached: the log's writer."""

    async def told(self, position: int) -> None:
        """Take a position that a transaction took, and return when this node knows it."""
        ...


class AccountChanges:
    """Makes committed changes of accounts count: here at once, elsewhere through the log."""

    def __init__(self, cache: TokenCache, announcer: Announcer) -> None:
        self._cache = cache
        self._announcer = announcer

    async def committed(self, user_id: UserID, position: int) -> None:
        """Forget what this node remembers of the user's tokens, and announce the position."""
        self._cache.forget_user(user_id)
        await self._announcer.told(position)
