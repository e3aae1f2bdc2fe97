"""Leaving rooms, but for those that hold on. Spec: client-server-api/#leaving-rooms"""

from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.membership import Memberships
from homeserver.services.notice_rooms import NoticeRooms
from homeserver.web.requester import Requester


class LeaveRoom:
    """Leaves rooms and rejects invites for clients."""

    def __init__(self, memberships: Memberships, notice_rooms: NoticeRooms) -> None:
        self._memberships = memberships
        self._notice_rooms = notice_rooms

    async def leave(self, requester: Requester, room_id: RoomID, content: JsonObject) -> None:
        """Leave a room, reject an invite, or retract a knock; again is no error.

        Raises CannotLeaveServerNoticeRoom, and what `Memberships.leave` raises.
        """
        await self._notice_rooms.check_may_leave(requester.user_id, room_id)
        await self._memberships.leave(requester, room_id, content)
