"""The token of `/sync`: a position of the log.

The letter is the version of the form: another form will take another letter.
"""

import re
from typing import Final

import msgspec

from homeserver.protocol.errors import InvalidToken

# Positions are non-negative and fit PostgreSQL's bigint. Canonical decimals only, so that equal
# positions have equal tokens; \d would admit digits of other scripts.
_TOKEN: Final = re.compile(r"s(0|[1-9][0-9]{0,18})")
MAX_POSITION: Final = 2**63 - 1


class SyncToken(msgspec.Struct, frozen=True, order=True):
    """All changes up to and including `position` have been seen."""

    position: int

    def __str__(self) -> str:
        return f"s{self.position}"


def parse_sync_token(text: str) -> SyncToken:
    """Read `since`, `from` or `pos`. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_POSITION:
        raise InvalidToken("not a sync token of this server")
    return SyncToken(int(match[1]))
