"""Invites to server notices rooms cannot be rejected. Spec: client-server-api/#server-notices"""

from homeserver.errors import CannotLeaveServerNoticeRoom
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.storage import server_notices
from homeserver.storage.database import Database


class NoticeRooms:
    """Knows the rooms in which the server talks to its users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check_may_leave(self, user_id: UserID, room_id: RoomID) -> None:
        """Raises CannotLeaveServerNoticeRoom: it is an invite. Who has joined may leave."""
        async with self._database.connection("notice_room") as connection:
            is_invite = await server_notices.is_invited_for_notices(connection, user_id, room_id)
        if is_invite:
            raise CannotLeaveServerNoticeRoom
