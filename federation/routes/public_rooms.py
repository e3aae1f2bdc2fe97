"""The room directory of this server, for users of others.

Spec: server-server-api/#published-room-directory
"""

from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import ServerName
from homeserver.services.public_rooms import DirectoryQuery, PublicRooms, PublicRoomsPage
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import FEDERATION_V1

# Zero stands for no limit but the server's own.
Limit: TypeAlias = Annotated[int, Meta(ge=0)]


class DirectoryPageQuery(Query, frozen=True):
    """What part of the directory."""

    limit: Limit | UnsetType = UNSET
    since: str = ""
    include_all_networks: bool | UnsetType = UNSET
    third_party_instance_id: str = ""


class DirectoryFilter(Struct, frozen=True):
    """Which rooms."""

    generic_search_term: str | None = None
    room_types: tuple[str | None, ...] | None = None


class DirectoryPageBody(Body, frozen=True):
    """Which rooms, and what part of the list; null stands for absent with some servers."""

    limit: Limit | None = None
    since: str | None = None
    filter: DirectoryFilter | None = None
    include_all_networks: bool | None = None
    third_party_instance_id: str | None = None


class PublicRoomsRoutes:
    """The endpoints under `publicRooms`."""

    def __init__(self, public_rooms: PublicRooms, *, is_open: bool) -> None:
        self._public_rooms = public_rooms
        self._is_open = is_open

    @endpoint(
        "GET",
        FEDERATION_V1 / "publicRooms",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1publicrooms",
    )
    async def get_public_rooms(
        self, origin: ServerName, query: DirectoryPageQuery
    ) -> PublicRoomsPage:
        """List the server's published room directory."""
        return await self._page(
            DirectoryQuery(
                limit=None if query.limit is UNSET else query.limit,
                since=query.since or None,
                include_all_networks=query.include_all_networks is True,
                third_party_instance_id=query.third_party_instance_id or None,
            )
        )

    @endpoint(
        "POST",
        FEDERATION_V1 / "publicRooms",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#post_matrixfederationv1publicrooms",
    )
    async def post_public_rooms(
        self, origin: ServerName, body: DirectoryPageBody
    ) -> PublicRoomsPage:
        """List the server's published room directory with an optional filter."""
        chosen = body.filter or DirectoryFilter()
        return await self._page(
            DirectoryQuery(
                limit=body.limit,
                since=body.since or None,
                search_term=chosen.generic_search_term,
                room_types=chosen.room_types,
                include_all_networks=body.include_all_networks or False,
                third_party_instance_id=body.third_party_instance_id,
            )
        )

    async def _page(self, query: DirectoryQuery) -> PublicRoomsPage:
        if not self._is_open:
            raise Forbidden("This server does not show its room directory to other servers")
        return await self._public_rooms.own_page(query, for_servers=True)
