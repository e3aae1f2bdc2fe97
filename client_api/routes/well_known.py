"""Discovery documents. Spec: client-server-api/#server-discovery"""

from homeserver.errors import NotFound
from homeserver.protocol.json_types import JsonObject
from homeserver.services.discovery import Discovery
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import WELL_KNOWN


class WellKnownRoutes:
    """The documents for clients under `/.well-known/matrix/`."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    @endpoint(
        "GET",
        WELL_KNOWN / "client",
        auth=Auth.NONE,
        rate_limit=None,
        spec="client-server-api/#getwell-knownmatrixclient",
    )
    async def get_client(self) -> JsonObject:
        """Get Matrix server discovery information about the domain."""
        document = self._discovery.client()
        if document is None:
            raise NotFound("This server does not know its public address")
        return document

    @endpoint(
        "GET",
        WELL_KNOWN / "support",
        auth=Auth.NONE,
        rate_limit=None,
        spec="client-server-api/#getwell-knownmatrixsupport",
    )
    async def get_support(self) -> JsonObject:
        """Get server admin contact and support page of the domain."""
        return self._discovery.support()

    @endpoint(
        "GET",
        WELL_KNOWN / "policy_server",
        auth=Auth.NONE,
        rate_limit=None,
        spec="client-server-api/#getwell-knownmatrixpolicy_server",
    )
    async def get_policy_server(self) -> JsonObject:
        """Get information about a policy server's configuration, if available."""
        return self._discovery.policy_server()
