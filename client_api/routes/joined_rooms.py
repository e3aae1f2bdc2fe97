"""The rooms that a user is in, and forgetting those that the user has left.

Spec: client-server-api/#room-membership
"""

import msgspec

from client_api.routes.joining import RoomPath
from homeserver.protocol.identifiers import RoomID
from homeserver.services.forget_room import ForgetRoom
from homeserver.streams.user_rooms import UserRooms
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class JoinedRooms(msgspec.Struct, frozen=True):
    """The rooms in which the user is joined."""

    joined_rooms: list[RoomID]


class JoinedRoomsRoutes:
    """A user's list of rooms."""

    def __init__(self, user_rooms: UserRooms, forget_room: ForgetRoom) -> None:
        self._user_rooms = user_rooms
        self._forget_room = forget_room

    @endpoint(
        "GET",
        CLIENT_V3 / "joined_rooms",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3joined_rooms",
    )
    async def get_joined_rooms(self, requester: Requester) -> JoinedRooms:
        """List the rooms that the user is joined to."""
        rooms = await self._user_rooms.of_user(requester.user_id)
        return JoinedRooms([row.room_id for row in rooms.values() if row.membership == "join"])

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/forget",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidforget",
    )
    async def post_forget(self, requester: Requester, path: RoomPath) -> Empty:
        """Forget a room that the user has left."""
        await self._forget_room.forget(requester.user_id, path.room_id)
        return Empty()
