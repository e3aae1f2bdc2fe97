"""Typing notifications. Spec: client-server-api/#typing-notifications"""

from typing import Final

from homeserver.errors import Forbidden
from homeserver.protocol import edu
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.access import Access
from homeserver.storage import memberships
from homeserver.storage.database import Database
from homeserver.streams.ephemeral import TypingUsers

# Clients say so again every 20 to 30 seconds.
DEFAULT_TIMEOUT_MS: Final = 30_000
# Nobody types for longer without saying so again.
MAX_TIMEOUT_MS: Final = 120_000
# Other servers say no time; they say so again as long as it lasts.
REMOTE_TIMEOUT_MS: Final = 60_000


class TypingNotifications:
    """Takes what users, here and elsewhere, say of their typing."""

    def __init__(self, database: Database, access: Access, typing: TypingUsers) -> None:
        self._database = database
        self._access = access
        self._typing = typing

    async def set(self, user_id: UserID, room_id: RoomID, timeout_ms: int) -> None:
        """Take a member as typing for a time, or, with 0, as not typing. Raises Forbidden."""
        membership = await self._access.membership(user_id, room_id)
        if membership is None or membership.membership != "join":
            raise Forbidden("You are not joined to this room")
        if timeout_ms > 0:
            self._typing.start(membership.room_nid, user_id, min(timeout_ms, MAX_TIMEOUT_MS))
        else:
            self._typing.stop(membership.room_nid, user_id)

    async def receive(self, received: edu.Typing) -> None:
        """Take what another server says of a user of its own, if that user is in the room."""
        async with self._database.connection("typing") as connection:
            membership = await memberships.membership_of(
                connection, received.user_id, received.room_id
            )
        if membership is None or membership.membership != "join":
            return
        if received.typing:
            self._typing.start(membership.room_nid, received.user_id, REMOTE_TIMEOUT_MS)
        else:
            self._typing.stop(membership.room_nid, received.user_id)
