"""Versions of the specification. Spec: client-server-api/#api-versions"""

from collections.abc import Mapping

from homeserver.services.discovery import SPEC_VERSIONS, Versions
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import CLIENT
from homeserver.web.requester import Requester


class VersionsRoutes:
    """`GET /versions`."""

    def __init__(self, unstable_features: Mapping[str, bool]) -> None:
        """`unstable_features`: what is really there, by its namespaced name."""
        self._versions = Versions(SPEC_VERSIONS, unstable_features)

    @endpoint(
        "GET",
        CLIENT / "versions",
        auth=Auth.OPTIONAL,
        rate_limit=None,
        guests=True,
        spec="client-server-api/#get_matrixclientversions",
    )
    async def get_versions(self, requester: Requester | None) -> Versions:
        """Get the versions of the specification supported by the server."""
        return self._versions
