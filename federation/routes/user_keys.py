"""Devices and encryption keys of local users, for other servers.

Spec: server-server-api/#device-management, server-server-api/#end-to-end-encryption
"""

from typing import Final

from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.federated_keys import FederatedKeys
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import FEDERATION_V1

# All devices of a large room's users may be asked for at once.
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class UserPath(Params, frozen=True):
    """Which user."""

    user_id: UserID


class QueryKeysBody(Body, frozen=True):
    """Whose devices; no device named: all of the user's."""

    device_keys: dict[UserID, list[DeviceID]]


class ClaimKeysBody(Body, frozen=True):
    """One key of which algorithm for each device."""

    one_time_keys: dict[UserID, dict[DeviceID, str]]


class UserKeyRoutes:
    """The endpoints under `user`."""

    def __init__(self, keys: FederatedKeys) -> None:
        self._keys = keys

    @endpoint(
        "GET",
        FEDERATION_V1 / "user/devices/{user_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1userdevicesuserid",
    )
    async def get_user_devices(self, origin: ServerName, path: UserPath) -> JsonObject:
        """Get information on all of a user's devices."""
        return await self._keys.devices(path.user_id)

    @endpoint(
        "POST",
        FEDERATION_V1 / "user/keys/query",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="server-server-api/#post_matrixfederationv1userkeysquery",
    )
    async def post_keys_query(self, origin: ServerName, body: QueryKeysBody) -> JsonObject:
        """Return the devices and identity keys of users."""
        return await self._keys.query(body.device_keys)

    @endpoint(
        "POST",
        FEDERATION_V1 / "user/keys/claim",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="server-server-api/#post_matrixfederationv1userkeysclaim",
    )
    async def post_keys_claim(self, origin: ServerName, body: ClaimKeysBody) -> JsonObject:
        """Claim one-time encryption keys of users."""
        return await self._keys.claim(body.one_time_keys)
