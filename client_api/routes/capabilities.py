"""Capabilities. Spec: client-server-api/#capabilities-negotiation"""

import msgspec

from homeserver.protocol.json_types import JsonObject
from homeserver.services.discovery import Capabilities
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class CapabilitiesAnswer(msgspec.Struct, frozen=True):
    """All capabilities, by name."""

    capabilities: JsonObject


class CapabilitiesRoutes:
    """`GET /capabilities`."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities

    @endpoint(
        "GET",
        CLIENT_V3 / "capabilities",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        # Not on the specification's list, but clients ask before they know that they are guests.
        guests=True,
        spec="client-server-api/#get_matrixclientv3capabilities",
    )
    async def get_capabilities(self, requester: Requester) -> CapabilitiesAnswer:
        """Get information about the server's capabilities."""
        return CapabilitiesAnswer(await self._capabilities.of(requester))
