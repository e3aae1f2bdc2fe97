"""Whether the directory lists a room. Spec: client-server-api/#published-room-directory"""

from typing import Literal, TypeAlias

import msgspec

from client_api.routes.joining import RoomPath
from homeserver.services.directory_listing import DirectoryListing
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

Visibility: TypeAlias = Literal["public", "private"]


class VisibilityBody(Body, frozen=True):
    """Whether to list the room."""

    visibility: Visibility = "public"


class VisibilityAnswer(msgspec.Struct, frozen=True):
    """Whether the room is listed."""

    visibility: Visibility


class DirectoryListingRoutes:
    """The listing of single rooms."""

    def __init__(self, listing: DirectoryListing) -> None:
        self._listing = listing

    @endpoint(
        "GET",
        CLIENT_V3 / "directory/list/room/{room_id}",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3directorylistroomroomid",
    )
    async def get_visibility(self, path: RoomPath) -> VisibilityAnswer:
        """Say whether the directory lists a room."""
        is_listed = await self._listing.is_listed(path.room_id)
        return VisibilityAnswer("public" if is_listed else "private")

    @endpoint(
        "PUT",
        CLIENT_V3 / "directory/list/room/{room_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3directorylistroomroomid",
    )
    async def put_visibility(
        self, requester: Requester, path: RoomPath, body: VisibilityBody
    ) -> Empty:
        """List a room in the directory, or hide it."""
        if body.visibility == "public":
            await self._listing.publish(requester, path.room_id)
        else:
            await self._listing.hide(requester, path.room_id)
        return Empty()
