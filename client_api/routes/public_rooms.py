"""The published room directory. Spec: client-server-api/#published-room-directory"""

from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from homeserver.errors import MissingToken
from homeserver.protocol.identifiers import ServerName
from homeserver.services.public_rooms import DirectoryQuery, PublicRooms, PublicRoomsPage
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# 0 stands for "no limit of the client's", as between servers.
Limit: TypeAlias = Annotated[int, Meta(ge=0)]


class ServerQuery(Query, frozen=True):
    """Whose directory."""

    server: ServerName | UnsetType = UNSET


class PublicRoomsQuery(ServerQuery, frozen=True):
    """Whose directory, and what part of it."""

    limit: Limit | UnsetType = UNSET
    since: str = ""


class DirectoryFilter(Struct, frozen=True):
    """Which rooms."""

    generic_search_term: str | None = None
    # "To include rooms without a room type, specify null within this list."
    room_types: tuple[str | None, ...] | None = None


class PublicRoomsBody(Body, frozen=True):
    """Which rooms, and what part of the list; null stands for absent with some clients."""

    limit: Limit | None = None
    since: str | None = None
    filter: DirectoryFilter | None = field(default_factory=DirectoryFilter)
    include_all_networks: bool | None = None
    third_party_instance_id: str | None = None


class PublicRoomsRoutes:
    """The directories of rooms."""

    def __init__(self, public_rooms: PublicRooms, *, requires_login: bool) -> None:
        self._public_rooms = public_rooms
        self._requires_login = requires_login

    @endpoint(
        "GET",
        CLIENT_V3 / "publicRooms",
        auth=Auth.OPTIONAL,
        guests=True,
        rate_limit=RateLimit.SEARCH,
        spec="client-server-api/#get_matrixclientv3publicrooms",
    )
    async def get_public_rooms(
        self, requester: Requester | None, query: PublicRoomsQuery
    ) -> PublicRoomsPage:
        """List a server's published room directory."""
        is_remote = query.server is not UNSET
        # Nobody in particular may not have other servers asked.
        if requester is None and (self._requires_login or is_remote):
            raise MissingToken
        wanted = DirectoryQuery(
            limit=None if query.limit is UNSET else query.limit, since=query.since or None
        )
        return await self._public_rooms.page(wanted, _server(query))

    @endpoint(
        "POST",
        CLIENT_V3 / "publicRooms",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.SEARCH,
        spec="client-server-api/#post_matrixclientv3publicrooms",
    )
    async def post_public_rooms(
        self, requester: Requester, query: ServerQuery, body: PublicRoomsBody
    ) -> PublicRoomsPage:
        """List a server's published room directory with an optional filter."""
        chosen = body.filter or DirectoryFilter()
        wanted = DirectoryQuery(
            limit=body.limit,
            since=body.since or None,
            search_term=chosen.generic_search_term,
            room_types=chosen.room_types,
            include_all_networks=body.include_all_networks or False,
            third_party_instance_id=body.third_party_instance_id,
        )
        return await self._public_rooms.page(wanted, _server(query))


def _server(query: ServerQuery) -> str | None:
    return None if query.server is UNSET else query.server
