"""Templates of membership events, for servers whose users want into a room or out of it.

Spec: server-server-api/#joining-rooms, #knocking-rooms, #leaving-rooms-rejecting-invites
"""

from typing import Annotated

from msgspec import Meta

from federation.membership.residence import Templates
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import FEDERATION_V1


class MemberPath(Params, frozen=True):
    """A room and a user of the server that asks."""

    room_id: RoomID
    user_id: UserID


class VersionsQuery(Query, frozen=True):
    """The room versions that the server supports."""

    ver: tuple[str, ...] = ("1",)


class KnockVersionsQuery(Query, frozen=True):
    """The same; no server knew of knocking before it had to say so."""

    ver: Annotated[tuple[str, ...], Meta(min_length=1)]


class MakeMembershipRoutes:
    """The endpoints `make_join`, `make_knock` and `make_leave`."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    @endpoint(
        "GET",
        FEDERATION_V1 / "make_join/{room_id}/{user_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1make_joinroomiduserid",
    )
    async def get_make_join(
        self, origin: ServerName, path: MemberPath, query: VersionsQuery
    ) -> JsonObject:
        """Get information required to make a join event for a room."""
        return await self._templates.join(origin, path.room_id, path.user_id, query.ver)

    @endpoint(
        "GET",
        FEDERATION_V1 / "make_knock/{room_id}/{user_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1make_knockroomiduserid",
    )
    async def get_make_knock(
        self, origin: ServerName, path: MemberPath, query: KnockVersionsQuery
    ) -> JsonObject:
        """Get information required to make a knock event for a room."""
        return await self._templates.knock(origin, path.room_id, path.user_id, query.ver)

    @endpoint(
        "GET",
        FEDERATION_V1 / "make_leave/{room_id}/{user_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1make_leaveroomiduserid",
    )
    async def get_make_leave(self, origin: ServerName, path: MemberPath) -> JsonObject:
        """Get information required to make a leave event for a room."""
        return await self._templates.leave(origin, path.room_id, path.user_id)
