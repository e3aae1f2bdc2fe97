"""The token of `/sync`: a position of the log, and who types where as the client knows it.

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
_TOKEN: Final = re.compile(rf"s(0|[1-9][0-9]{{0,18}})((?:{_TYPING}){{0,{MAX_TYPING}}})")
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

    def __str__(self) -> str:
        rooms = "".join(f"_{told.room_nid:x}.{told.digest:08x}" for told in self.typing)
        return f"s{self.position}{rooms}"


def parse_sync_token(text: str) -> SyncToken:
    """Read `since`, `from` or `pos`. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_POSITION:
        raise InvalidToken("not a sync token of this server")
    return SyncToken(int(match[1]), tuple(map(_typing_told, match[2].split("_")[1:])))


def _typing_told(text: str) -> TypingTold:
    room_nid, _, digest = text.partition(".")
    told = TypingTold(int(room_nid, 16), int(digest, 16))
    if told.room_nid > MAX_POSITION:
        raise InvalidToken("not a sync token of this server")
    return told
