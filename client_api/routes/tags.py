"""Tags of rooms. Spec: client-server-api/#room-tagging"""

import msgspec

from client_api.routes.account_data import check_is_own
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.tags import Tags
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params, RawBody
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class TagsPath(Params, frozen=True):
    """Whose tags of which room."""

    user_id: UserID
    room_id: RoomID


class TagPath(Params, frozen=True):
    """One of them."""

    user_id: UserID
    room_id: RoomID
    tag: str


class TagsAnswer(msgspec.Struct, frozen=True):
    """The contents of the tags by name."""

    tags: JsonObject


class TagRoutes:
    """`/user/{userId}/rooms/{roomId}/tags`."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    @endpoint(
        "GET",
        CLIENT_V3 / "user/{user_id}/rooms/{room_id}/tags",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3useruseridroomsroomidtags",
    )
    async def get_tags(self, requester: Requester, path: TagsPath) -> TagsAnswer:
        """List the tags for a room."""
        check_is_own(requester, path.user_id)
        return TagsAnswer(await self._tags.of_room(path.user_id, path.room_id))

    @endpoint(
        "PUT",
        CLIENT_V3 / "user/{user_id}/rooms/{room_id}/tags/{tag}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag",
    )
    async def put_tag(self, requester: Requester, path: TagPath, body: RawBody) -> Empty:
        """Add a tag to a room."""
        check_is_own(requester, path.user_id)
        await self._tags.put(path.user_id, path.room_id, path.tag, body.content)
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / "user/{user_id}/rooms/{room_id}/tags/{tag}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag",
    )
    async def delete_tag(self, requester: Requester, path: TagPath) -> Empty:
        """Remove a tag from the room."""
        check_is_own(requester, path.user_id)
        await self._tags.remove(path.user_id, path.room_id, path.tag)
        return Empty()
