"""The document that says where this server is reached.

Spec: server-server-api/#getwell-knownmatrixserver
"""

from homeserver.errors import NotFound
from homeserver.protocol.json_types import JsonObject
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import WELL_KNOWN


class ServerWellKnownRoutes:
    """`/.well-known/matrix/server`."""

    def __init__(self, delegate_to: str | None) -> None:
        """`delegate_to`: the name that is answered; None: there is no document."""
        self._delegate_to = delegate_to

    @endpoint(
        "GET",
        WELL_KNOWN / "server",
        auth=Auth.NONE,
        rate_limit=None,
        spec="server-server-api/#getwell-knownmatrixserver",
    )
    async def get_server(self) -> JsonObject:
        """Get information about the delegated server for server-server communication."""
        if self._delegate_to is None:
            raise NotFound("This server does not delegate")
        return {"m.server": self._delegate_to}
