"""What other servers ask of the keys of users here.

Spec: server-server-api/#device-management, server-server-api/#end-to-end-encryption
"""

from collections.abc import Mapping, Sequence

import msgspec

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.key_objects import key_object
from homeserver.services.local_keys import read_keys
from homeserver.services.one_time_keys import Claims, OneTimeKeys
from homeserver.storage import device_keys, device_lists
from homeserver.storage.database import Database


class FederatedKeys:
    """Answers about local users; users of other servers are as unknown as those who do not exist.

    Whatever these return is JSON whose key objects are `msgspec.Raw`.
    """

    def __init__(
        self, database: Database, one_time_keys: OneTimeKeys, server_name: ServerName
    ) -> None:
        self._database = database
        self._one_time_keys = one_time_keys
        self._server_name = server_name

    async def devices(self, user_id: UserID) -> JsonObject:
        """Return all devices of a user, with the stream ID of the list. Raises NotFound.

        Spec: server-server-api/#get_matrixfederationv1userdevicesuserid
        """
        wanted = self._local({user_id: ()})
        async with self._database.transaction(
            "federated_devices", isolation="repeatable_read", readonly=True
        ) as tx:
            keys = await read_keys(tx, wanted, None)
            if user_id not in keys.device_keys:
                raise NotFound("There is no such user")
            rows = await device_keys.keys_of_users(tx, wanted)
            stream_id = await device_lists.stream_id_of(tx, user_id)
        devices: list[JsonObject] = []
        for row in rows:
            device: JsonObject = {
                "device_id": row.device_id,
                "keys": msgspec.Raw(key_object(row.key)),
            }
            if row.display_name is not None:
                device["device_display_name"] = row.display_name
            devices.append(device)
        answer: JsonObject = {"user_id": user_id, "stream_id": stream_id, "devices": devices}
        if user_id in keys.master_keys:
            answer["master_key"] = msgspec.Raw(keys.master_keys[user_id])
        if user_id in keys.self_signing_keys:
            answer["self_signing_key"] = msgspec.Raw(keys.self_signing_keys[user_id])
        return answer

    async def query(self, wanted: Mapping[UserID, Sequence[DeviceID]]) -> JsonObject:
        """Return keys of users as another server may see them.

        Spec: server-server-api/#post_matrixfederationv1userkeysquery
        """
        async with self._database.connection("federated_keys") as connection:
            keys = await read_keys(connection, self._local(wanted), None)
        return {
            "device_keys": {
                user_id: {device_id: msgspec.Raw(key) for device_id, key in devices.items()}
                for user_id, devices in keys.device_keys.items()
            },
            "master_keys": {each: msgspec.Raw(key) for each, key in keys.master_keys.items()},
            "self_signing_keys": {
                each: msgspec.Raw(key) for each, key in keys.self_signing_keys.items()
            },
        }

    async def claim(self, wanted: Claims) -> JsonObject:
        """Claim one-time keys on behalf of another server. Raises InvalidParam.

        Spec: server-server-api/#post_matrixfederationv1userkeysclaim
        """
        return {"one_time_keys": await self._one_time_keys.claim_local(wanted)}

    def _local(
        self, wanted: Mapping[UserID, Sequence[DeviceID]]
    ) -> dict[UserID, Sequence[DeviceID]]:
        return {
            each: devices
            for each, devices in wanted.items()
            if server_name_of(each) == self._server_name
        }
