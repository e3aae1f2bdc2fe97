"""The token of `/messages` and its like: a place between two events of a room.

The events of a room are ordered by (depth, position). Backfilled events have negative positions.
"""

import re
from typing import Final, Self

import msgspec

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.sync_token import MAX_POSITION, SyncToken, parse_sync_token

_TOKEN: Final = re.compile(r"t(0|[1-9][0-9]{0,18})_(0|-?[1-9][0-9]{0,18})")
MAX_DEPTH: Final = 2**63 - 1  # rooms/v1/: "Must be less than the maximum value for an integer"


class PaginationToken(msgspec.Struct, frozen=True, order=True):
    """The place after all events up to and including (`depth`, `position`).

    Going backwards from it that event is the first one met; going forwards, the next one.
    No event needs to have exactly these numbers.
    """

    depth: int
    position: int

    @classmethod
    def after(cls, depth: int, position: int) -> Self:
        """Return the place right after an event."""
        return cls(depth, position)

    @classmethod
    def before(cls, depth: int, position: int) -> Self:
        """Return the place right before an event: positions are whole numbers."""
        return cls(depth, position - 1)

    def __str__(self) -> str:
        return f"t{self.depth}_{self.position}"


def parse_pagination_token(text: str) -> PaginationToken:
    """Read a token made by `/messages`, `/context` or a timeline. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_DEPTH or not _is_bigint(int(match[2])):
        raise InvalidToken("not a pagination token of this server")
    return PaginationToken(int(match[1]), int(match[2]))


def parse_room_token(text: str) -> PaginationToken | SyncToken:
    """Read a token where both kinds are accepted: `/messages`, `/members?at=`, `/relations`.

    Raises InvalidToken.
    """
    return parse_sync_token(text) if text.startswith("s") else parse_pagination_token(text)


def _is_bigint(number: int) -> bool:
    return -MAX_POSITION - 1 <= number <= MAX_POSITION
