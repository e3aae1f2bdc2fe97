"""The token of `/messages` and its like: a place between two events of a room's timeline.

Live events are ordered by their position in the log and have sub 0. Backfilled events share the
position of the live event after them, and their sub counts down from -1.
"""

import re
from typing import Final, Self

import msgspec

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.sync_token import MAX_POSITION, SyncToken, parse_sync_token

_TOKEN: Final = re.compile(r"t(0|[1-9][0-9]{0,18})_(0|-[1-9][0-9]{0,9})")
# Fits PostgreSQL's integer. One below the least sub of an event, for the place before all.
MIN_SUB: Final = -(2**31)


class PaginationToken(msgspec.Struct, frozen=True, order=True):
    """The place after all events up to and including (`pos`, `sub`).

    Going backwards from it that event is the first one met; going forwards, the next one.
    No event needs to have exactly these numbers.
    """

    pos: int
    sub: int

    @classmethod
    def after(cls, pos: int, sub: int) -> Self:
        """Return the place right after an event."""
        return cls(pos, sub)

    @classmethod
    def before(cls, pos: int, sub: int) -> Self:
        """Return the place right before an event: subs are whole numbers."""
        return cls(pos, sub - 1)

    def __str__(self) -> str:
        return f"t{self.pos}_{self.sub}"


def parse_pagination_token(text: str) -> PaginationToken:
    """Read a token made by `/messages`, `/context` or a timeline. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_POSITION or int(match[2]) < MIN_SUB:
        raise InvalidToken("not a pagination token of this server")
    return PaginationToken(int(match[1]), int(match[2]))


def parse_room_token(text: str) -> PaginationToken | SyncToken:
    """Read a token where both kinds are accepted: `/messages`, `/members?at=`, `/relations`.

    Raises InvalidToken.
    """
    return parse_sync_token(text) if text.startswith("s") else parse_pagination_token(text)
