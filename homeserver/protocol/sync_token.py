"""The token of `/sync`: a position of the log, and what a client knows otherwise than as of it.

The letter is the version of the form: another form will take another letter.
"""

import re
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.errors import InvalidToken

# How many rooms a token can name: more would not fit into a URL any more.
MAX_TYPING: Final = 30
# Positions and room numbers are not negative and fit PostgreSQL's bigint. Canonical numbers only,
# so that equal tokens are equal texts; \d would admit digits of other scripts.
_TYPING: Final = r"_[1-9a-f][0-9a-f]{0,15}\.[0-9a-f]{8}"
_POSITION: Final = r"(0|[1-9][0-9]{0,18})"
_TOKEN: Final = re.compile(rf"s{_POSITION}(?:d{_POSITION})?((?:{_TYPING}){{0,{MAX_TYPING}}})")
MAX_POSITION: Final = 2**63 - 1
MAX_DIGEST: Final = 2**32 - 1


class TypingTold(NamedTuple):
    """That a client has been told of somebody typing in a room: a digest of the list of users."""

    room_nid: int
    digest: int


class SyncToken(msgspec.Struct, frozen=True, order=True):
    """All changes up to and including `position` have been seen.

    `typing` are the rooms in which, to the client's knowledge, somebody types. Typing takes no
    position: from the token any node can say whether it has changed, after a restart too.
    """

    position: int
    typing: tuple[TypingTold, ...] = ()
    # The device has got its messages only up to here: more wait. Absent: all up to `position`.
    to_device: int | None = None

    def __str__(self) -> str:
        rooms = "".join(f"_{told.room_nid:x}.{told.digest:08x}" for told in self.typing)
        to_device = "" if self.to_device is None else f"d{self.to_device}"
        return f"s{self.position}{to_device}{rooms}"


def parse_sync_token(text: str) -> SyncToken:
    """Read `since`, `from` or `pos`. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_POSITION:
        raise InvalidToken("not a sync token of this server")
    position = int(match[1])
    to_device = None if match[2] is None else int(match[2])
    if to_device is not None and to_device >= position:
        raise InvalidToken("not a sync token of this server")
    return SyncToken(position, tuple(map(_typing_told, match[3].split("_")[1:])), to_device)


def _typing_told(text: str) -> TypingTold:
    room_nid, _, digest = text.partition(".")
    told = TypingTold(int(room_nid, 16), int(digest, 16))
    if told.room_nid > MAX_POSITION:
        raise InvalidToken("not a sync token of this server")
    return told
