"""Third-party lookups. Spec: client-server-api/#third-party-lookups"""

from homeserver.protocol.identifiers import RoomAlias, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.third_party_networks import ThirdPartyLookups
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import AnyQuery, Params, Query
from homeserver.web.paths import CLIENT_V3


class ProtocolPath(Params, frozen=True):
    """Which network."""

    protocol: str


class AliasQuery(Query, frozen=True):
    """Which alias."""

    alias: RoomAlias


class UserQuery(Query, frozen=True):
    """Which user."""

    userid: UserID


class ThirdPartyRoutes:
    """`/thirdparty/…`."""

    def __init__(self, lookups: ThirdPartyLookups) -> None:
        self._lookups = lookups

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/protocols",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartyprotocols",
    )
    async def get_protocols(self) -> dict[str, JsonObject]:
        """Retrieve metadata about all protocols that the homeserver supports."""
        return await self._lookups.protocols()

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/protocol/{protocol}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartyprotocolprotocol",
    )
    async def get_protocol(self, path: ProtocolPath) -> JsonObject:
        """Retrieve metadata about a specific protocol that the homeserver supports."""
        return await self._lookups.protocol(path.protocol)

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/location/{protocol}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartylocationprotocol",
    )
    async def get_locations(self, path: ProtocolPath, query: AnyQuery) -> list[JsonObject]:
        """Retrieve Matrix-side portal rooms leading to a third-party location."""
        return await self._lookups.locations(path.protocol, query.fields)

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/user/{protocol}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartyuserprotocol",
    )
    async def get_users(self, path: ProtocolPath, query: AnyQuery) -> list[JsonObject]:
        """Retrieve the Matrix User ID of a corresponding third-party user."""
        return await self._lookups.users(path.protocol, query.fields)

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/location",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartylocation",
    )
    async def get_locations_of_alias(self, query: AliasQuery) -> list[JsonObject]:
        """Reverse-lookup third-party locations given a Matrix room alias."""
        return await self._lookups.locations_of_alias(query.alias)

    @endpoint(
        "GET",
        CLIENT_V3 / "thirdparty/user",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3thirdpartyuser",
    )
    async def get_users_of_id(self, query: UserQuery) -> list[JsonObject]:
        """Reverse-lookup third-party users given a Matrix User ID."""
        return await self._lookups.users_of_id(query.userid)
