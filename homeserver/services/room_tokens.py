"""Tokens of clients as places in a room's timeline."""

from homeserver.protocol.pagination_token import PaginationToken, parse_room_token
from homeserver.protocol.sync_token import SyncToken
from homeserver.storage.events import Place


def place_of_token(text: str) -> Place:
    """Return the place of a token of /sync or of a timeline. Raises InvalidToken."""
    token = parse_room_token(text)
    if isinstance(token, SyncToken):
        return Place(token.position, 0)
    return Place(token.pos, token.sub)


def token_of_place(place: Place) -> str:
    """Return the token of a place."""
    return str(PaginationToken(place.pos, place.sub))


def state_position(place: Place) -> int:
    """Return the log position after which the state is that of the place.

    Between two backfilled events it is that before the live event after them: there is none for
    each of them.
    """
    return place.pos if place.sub >= 0 else place.pos - 1
