"""Access tokens in memory: what was looked up once, until the log says that it has changed."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.streams.entries import (
    ACCOUNT_CHANGED,
    DEVICE_CHANGED,
    TOKENS_REVOKED,
    LogEntry,
    UserEntry,
)
from homeserver.streams.tail import Tail
from homeserver.web.requester import Requester

# About 30 MB: the devices that were active lately.
MAX_TOKENS: Final = 50_000
_KINDS: Final = frozenset({TOKENS_REVOKED, DEVICE_CHANGED, ACCOUNT_CHANGED})


class CachedToken(NamedTuple):
    """Who has a token, and until when in milliseconds since 1970; None: for ever."""

    requester: Requester
    expires_ts: int | None


class TokenCache:
    """The tokens used last, by the SHA-256 of the token."""

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._tokens: OrderedDict[bytes, CachedToken] = OrderedDict()
        self._by_user: dict[str, set[bytes]] = {}
        # Grows whenever something is forgotten: what was read before that may be stale.
        self.generation = 0

    def follow(self, tail: Tail) -> None:
        """Forget users as the log tells of changes of their accounts."""
        tail.follow(self._take, on_gap=self.forget_all)

    def get(self, token_hash: bytes) -> CachedToken | None:
        """Return a token that is known, and count it as used."""
        token = self._tokens.get(token_hash)
        if token is not None:
            self._tokens.move_to_end(token_hash)
        return token

    def put(self, token_hash: bytes, token: CachedToken, *, generation: int) -> None:
        """Keep a token, unless something was forgotten since `generation` was looked at.

        `generation` must be taken before the token is read from the database.
        """
        if generation != self.generation:
            return
        self._tokens[token_hash] = token
        self._by_user.setdefault(token.requester.user_id, set()).add(token_hash)
        if len(self._tokens) > self._max_tokens:
            self._drop_oldest()

    def forget_user(self, user_id: str) -> None:
        """Forget all tokens of a user."""
        self.generation += 1
        for token_hash in self._by_user.pop(user_id, ()):
            del self._tokens[token_hash]

    def forget_all(self) -> None:
        """Forget everything: changes may have been missed."""
        self.generation += 1
        self._tokens.clear()
        self._by_user.clear()

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, UserEntry) and entry.kind in _KINDS:
                self.forget_user(entry.user_id)

    def _drop_oldest(self) -> None:
        token_hash, token = self._tokens.popitem(last=False)
        user_id = token.requester.user_id
        hashes = self._by_user[user_id]
        hashes.discard(token_hash)
        if not hashes:
            del self._by_user[user_id]
