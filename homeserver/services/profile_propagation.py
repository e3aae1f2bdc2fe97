"""Telling rooms of new names and avatars: a follower of the log.

A client is answered at once. The rooms hear of the change afterwards, from whichever node the
follower works on, and also when a node dies in between.
Spec: client-server-api/#events-on-change-of-profile-information
"""

import asyncio
from collections.abc import Iterator
from typing import Final, TypeAlias

from homeserver.errors import MatrixError, RemoteError
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.member_profiles import MemberProfileUpdates
from homeserver.storage import accounts, memberships
from homeserver.storage.database import Database
from homeserver.streams.entries import PROFILE_CHANGED, LogEntry, UserEntry
from homeserver.streams.follower import Stretch
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

FOLLOWER_NAME: Final = "profile_propagation"
# Rooms that are told at the same time: few enough that requests of clients come between.
_WORKERS: Final = 8
# Of the refusals, that of a room which is too busy at the moment.
_TRY_AGAIN: Final = 503

_Place: TypeAlias = tuple[UserID, RoomID]


class ProfilePropagation:
    """Updates the membership events of users whose profiles have changed."""

    def __init__(self, database: Database, updates: MemberProfileUpdates) -> None:
        self._database = database
        self._updates = updates

    def concerns(self, entry: LogEntry) -> bool:
        """Whether a name or an avatar has changed."""
        return isinstance(entry, UserEntry) and entry.kind == PROFILE_CHANGED

    async def handle(self, stretch: Stretch) -> None:
        """Tell all rooms of the users. Once more does no harm."""
        changed = dict.fromkeys(
            UserID(entry.user_id) for entry in stretch.entries if isinstance(entry, UserEntry)
        )
        places = [place for user_id in changed for place in await self._places(user_id)]
        waiting = iter(places)
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(_WORKERS, len(places))):
                workers.create_task(self._work(waiting))

    async def _places(self, user_id: UserID) -> list[_Place]:
        async with self._database.connection(FOLLOWER_NAME) as connection:
            account = await accounts.account_of(connection, user_id)
            if account is None or account.deactivated_ts is not None:
                # The user is on the way out of all rooms.
                return []
            rows = await memberships.memberships_of(connection, user_id)
        return [(user_id, row.room_id) for row in rows if row.membership == "join"]

    async def _work(self, waiting: Iterator[_Place]) -> None:
        for user_id, room_id in waiting:
            try:
                await self._updates.update(user_id, room_id)
            except (MatrixError, RemoteError, ProtocolError) as error:
                if isinstance(error, MatrixError) and error.status == _TRY_AGAIN:
                    raise
                # The other rooms are to hear of it all the same.
                log.warning(
                    "room could not be told of a profile", room_id=room_id, error=str(error)
                )
