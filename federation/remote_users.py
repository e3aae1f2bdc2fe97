"""Asking other servers about their users: the port `RemoteUsers`."""

from federation.transport.client import FederationClient, path_of
from federation.transport.failures import RemoteRefusal
from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.identifiers import UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import FEDERATION_V1

# client-server-api/#profiles: "must be at most 64KiB", as Canonical JSON; others indent theirs.
_MAX_BYTES = 256 * 1024
# A client waits, and shows the user ID meanwhile.
_TIMEOUT_MS = 10_000


class FederationUsers:
    """Asks the server of a user."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def profile(self, user_id: UserID, field: str | None = None) -> JsonObject:
        """Return the profile of a user of another server, or what it has of one field.

        Raises NotFound, Forbidden, as the server says; RemoteError.
        Spec: server-server-api/#get_matrixfederationv1queryprofile
        """
        query = {"user_id": user_id} if field is None else {"user_id": user_id, "field": field}
        try:
            answer = await self._client.get(
                server_name_of(user_id),
                path_of(FEDERATION_V1, "query", "profile"),
                query=query,
                max_bytes=_MAX_BYTES,
                timeout_ms=_TIMEOUT_MS,
            )
        except RemoteRefusal as refusal:
            if refusal.status == 404:
                raise NotFound("The user has no such profile") from refusal
            if refusal.status == 403:
                raise Forbidden("The user's server does not show the profile") from refusal
            raise
        # "… exclude it from the response body or give it the value `null`."
        return {
            name: value
            for name, value in answer.items()
            if value is not None and (field is None or name == field)
        }
