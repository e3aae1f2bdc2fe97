"""Leaving every room of an account that has ended."""

from homeserver.errors import MatrixError, RemoteError
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.identifiers import UserID
from homeserver.rooms.membership import Memberships
from homeserver.storage import memberships
from homeserver.storage.database import Database
from homeserver.telemetry.log import get_logger
from homeserver.web.requester import Requester

log = get_logger(__name__)


class LeaveAll:
    """Takes a user out of all rooms, invites and knocks."""

    def __init__(self, database: Database, changes: Memberships) -> None:
        self._database = database
        self._changes = changes

    async def leave_all(self, user_id: UserID) -> None:
        """Leave all rooms, reject all invites and withdraw all knocks; again does no harm.

        A room that cannot be left is logged and does not keep the user in the others.
        """
        requester = Requester(user_id=user_id)
        async with self._database.connection("leave_all") as connection:
            rows = await memberships.memberships_of(connection, user_id)
        for row in rows:
            if row.membership not in ("join", "invite", "knock"):
                continue
            # One after the other: nobody waits, and other users' writes come between.
            try:
                await self._changes.leave(requester, row.room_id)
            except (MatrixError, RemoteError, ProtocolError) as error:
                log.warning("room could not be left", room_id=row.room_id, error=str(error))
