"""Lookups in third-party networks. Spec: client-server-api/#third-party-lookups"""

from collections.abc import Mapping

from homeserver.errors import NotFound
from homeserver.ports import ThirdPartyNetworks
from homeserver.protocol.identifiers import RoomAlias, UserID
from homeserver.protocol.json_types import JsonObject


class NoThirdPartyNetworks:
    """The networks of a server without application services: there are none."""

    async def protocols(self) -> dict[str, JsonObject]:
        """Return nothing."""
        return {}

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Find nothing."""
        return []

    async def users(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Find nothing."""
        return []

    async def locations_of_alias(self, alias: RoomAlias) -> list[JsonObject]:
        """Find nothing."""
        return []

    async def users_of_id(self, user_id: UserID) -> list[JsonObject]:
        """Find nothing."""
        return []


class ThirdPartyLookups:
    """Answers what clients ask of third-party networks."""

    def __init__(self, networks: ThirdPartyNetworks) -> None:
        self._networks = networks

    async def protocols(self) -> dict[str, JsonObject]:
        """Return the metadata of all protocols by name."""
        return await self._networks.protocols()

    async def protocol(self, name: str) -> JsonObject:
        """Return the metadata of a protocol. Raises NotFound."""
        protocols = await self._networks.protocols()
        if name not in protocols:
            raise NotFound("This protocol is not known here")
        return protocols[name]

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Return the portal rooms of a place in a network. Raises NotFound: there are none."""
        return _some(await self._networks.locations(protocol, fields), "No portal rooms were found")

    async def users(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Return the Matrix users for a user of a network. Raises NotFound: there are none."""
        return _some(await self._networks.users(protocol, fields), "No user was found")

    async def locations_of_alias(self, alias: RoomAlias) -> list[JsonObject]:
        """Return the places to which an alias leads. Raises NotFound: there are none."""
        found = await self._networks.locations_of_alias(alias)
        return _some(found, "The alias leads to no third-party location")

    async def users_of_id(self, user_id: UserID) -> list[JsonObject]:
        """Return the third-party users behind a Matrix user. Raises NotFound: there are none."""
        found = await self._networks.users_of_id(user_id)
        return _some(found, "The user is in no third-party network")


def _some(found: list[JsonObject], otherwise: str) -> list[JsonObject]:
    if not found:
        raise NotFound(otherwise)
    return found
