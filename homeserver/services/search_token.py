"""Where a search goes on: the token of a page, or of one of its groups."""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from homeserver.protocol.errors import InvalidBase64, InvalidToken
from homeserver.protocol.unpadded_base64 import decode_base64, encode_urlsafe_base64
from homeserver.storage.search import Candidate

Order: TypeAlias = Literal["rank", "recent"]
GroupKey: TypeAlias = Literal["room_id", "sender"]
Key: TypeAlias = tuple[float, int, int]

_MAX_LENGTH: Final = 1_000
# Milliseconds and row numbers are far below.
_Column = Annotated[int, Meta(ge=-(2**62), le=2**62)]


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Results that have a room or a sender in common."""

    key: GroupKey
    value: str


class SearchToken(msgspec.Struct, frozen=True, array_like=True):
    """The place right after a result; `total` is what the first page has told.

    Whoever makes up a token sees no more than by searching: it says where to begin.
    """

    rank: float
    ts: _Column
    event_nid: _Column
    total: Annotated[int, Meta(ge=0)]
    group: Group | None = None

    @property
    def key(self) -> Key:
        """The key of the result in the order of results, see `key_of_candidate`."""
        return self.rank, self.ts, self.event_nid


_decode: Final = msgspec.json.Decoder(SearchToken).decode


def key_of_candidate(candidate: Candidate, order: Order) -> Key:
    """Return what is greater the earlier a result comes."""
    rank = candidate.rank if order == "rank" else 0.0
    return rank, candidate.ts, candidate.event_nid


def token_after(
    candidate: Candidate, order: Order, total: int, group: Group | None = None
) -> SearchToken:
    """Return the place right after a result, among all or in its group."""
    return SearchToken(*key_of_candidate(candidate, order), total, group)


def parse_search_token(text: str) -> SearchToken:
    """Read a token. Raises InvalidToken."""
    try:
        if len(text) <= _MAX_LENGTH:
            return _decode(decode_base64(text))
    except (InvalidBase64, msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise InvalidToken("not a next_batch token of a search")


def token_text(token: SearchToken) -> str:
    """Return a token as clients get it."""
    return encode_urlsafe_base64(msgspec.json.encode(token))
