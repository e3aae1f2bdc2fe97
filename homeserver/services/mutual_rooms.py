"""The rooms that two users share. Spec: client-server-api/#mutual-rooms"""

import re
from typing import Final, NamedTuple

from homeserver.errors import InvalidParam
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import RoomID, is_compliant_user_id, parse_user_id
from homeserver.storage import mutual_rooms
from homeserver.storage.database import Database
from homeserver.web.requester import Requester

MAX_ROOMS: Final = 1_000

_TOKEN: Final = re.compile(r"m([1-9][0-9]{0,17})_([0-9]{1,9})")


class MutualRoomsPage(NamedTuple):
    """Shared rooms, how many there are in all, and the token of the next page, if there is one."""

    joined: list[RoomID]
    total: int
    next_batch: str | None


class MutualRooms:
    """Finds what rooms users share."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, requester: Requester, other: str, start: str | None) -> MutualRoomsPage:
        """Return the rooms in which both users are joined; none with a user who does not exist.

        Raises InvalidParam: `other` is no user ID or a historical one, or the requester's own; no
        token of this server.
        """
        _check(requester, other)
        after, counted = _parsed(start) if start is not None else (0, 0)
        async with self._database.connection("mutual_rooms") as connection:
            rooms, count = await mutual_rooms.shared_rooms(
                connection, requester.user_id, other, after=after, limit=MAX_ROOMS + 1
            )
        page = rooms[:MAX_ROOMS]
        next_batch = f"m{page[-1].room_nid}_{count}" if len(rooms) > MAX_ROOMS else None
        return MutualRoomsPage([room.room_id for room in page], count or counted, next_batch)


def _check(requester: Requester, other: str) -> None:
    try:
        user_id = parse_user_id(other)
    except InvalidIdentifier as error:
        raise InvalidParam(f"user_id: {error}") from error
    if not is_compliant_user_id(user_id):
        raise InvalidParam("user_id is not a compliant user ID")
    if user_id == requester.user_id:
        raise InvalidParam("You share all of your rooms with yourself")


def _parsed(token: str) -> tuple[int, int]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("from is not a token of this server")
    return int(match[1]), int(match[2])
