"""Asking other servers for the keys of their users: the port `RemoteKeys`."""

from collections.abc import Mapping, Sequence
from typing import Final

from federation.transport.client import MIB, FederationClient, path_of
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import FEDERATION_V1

# A device has some 2 kB of keys; some users have hundreds of devices.
_MAX_BYTES: Final = 32 * MIB


class FederationKeys:
    """Asks the server of users. The answers are unchecked."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def query(
        self, server: ServerName, wanted: Mapping[UserID, Sequence[DeviceID]]
    ) -> JsonObject:
        """Return a server's answer about devices of its users, no devices named: about all.

        Raises RemoteError. Spec: server-server-api/#post_matrixfederationv1userkeysquery
        """
        return await self._client.post(
            server,
            path_of(FEDERATION_V1, "user", "keys", "query"),
            body={"device_keys": {user_id: list(each) for user_id, each in wanted.items()}},
            max_bytes=_MAX_BYTES,
        )

    async def claim(
        self, server: ServerName, wanted: Mapping[UserID, Mapping[DeviceID, str]]
    ) -> JsonObject:
        """Return a server's answer to claims: user ID → device ID → algorithm.

        Raises RemoteError. Spec: server-server-api/#post_matrixfederationv1userkeysclaim
        """
        return await self._client.post(
            server,
            path_of(FEDERATION_V1, "user", "keys", "claim"),
            body={"one_time_keys": {user_id: dict(each) for user_id, each in wanted.items()}},
            max_bytes=_MAX_BYTES,
        )

    async def devices(self, user_id: UserID) -> JsonObject:
        """Return the answer of a user's server about all of the user's devices.

        Raises RemoteError. Spec: server-server-api/#get_matrixfederationv1userdevicesuserid
        """
        return await self._client.get(
            server_name_of(user_id),
            path_of(FEDERATION_V1, "user", "devices", user_id),
            max_bytes=_MAX_BYTES,
        )
