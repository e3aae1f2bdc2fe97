"""What program this server is. Spec: server-server-api/#server-implementation"""

import msgspec

from homeserver.config.version import NAME, version
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import FEDERATION_V1


class Implementation(msgspec.Struct, frozen=True):
    """The name and the version of a program."""

    name: str
    version: str


class VersionAnswer(msgspec.Struct, frozen=True):
    """The implementation of this server."""

    server: Implementation


class VersionRoutes:
    """The endpoint that names the program."""

    @endpoint(
        "GET",
        FEDERATION_V1 / "version",
        auth=Auth.NONE,
        rate_limit=None,
        spec="server-server-api/#get_matrixfederationv1version",
    )
    async def get_version(self) -> VersionAnswer:
        """Get the implementation name and version of this homeserver."""
        return VersionAnswer(Implementation(NAME, version()))
