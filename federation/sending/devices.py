"""EDUs about the devices and the cross-signing keys of local users, as they are when sent.

Spec: server-server-api/#device-management
"""

from collections.abc import Sequence

from federation.sending.outbox import DeviceItem
from homeserver.protocol.device_keys import Usage
from homeserver.protocol.edu import DeviceListUpdate, SigningKeyUpdate
from homeserver.protocol.identifiers import UserID
from homeserver.services.key_objects import source_of
from homeserver.storage import cross_signing, outbound_devices
from homeserver.storage.database import Connection, Database
from homeserver.storage.outbound_devices import DeviceState


class DeviceUpdates:
    """Makes the EDUs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(
        self, devices: Sequence[DeviceItem], users: Sequence[UserID]
    ) -> list[DeviceListUpdate | SigningKeyUpdate]:
        """Return an update for each device, and one for the keys of each user."""
        if not devices and not users:
            return []
        updates: list[DeviceListUpdate | SigningKeyUpdate] = []
        async with self._database.connection("outbound_devices") as connection:
            asked = [(each.user_id, each.device_id, each.pos) for each in devices]
            states = await outbound_devices.states_of(connection, asked) if asked else []
            updates += map(_device_update, devices, states)
            if users:
                updates += await _signing_keys(connection, list(dict.fromkeys(users)))
        return updates


def _device_update(item: DeviceItem, state: DeviceState) -> DeviceListUpdate:
    return DeviceListUpdate(
        user_id=item.user_id,
        device_id=item.device_id,
        stream_id=item.pos,
        prev_id=() if state.prev_pos is None else (state.prev_pos,),
        device_display_name=state.display_name,
        deleted=not state.exists,
        keys=None if state.key is None else source_of(state.key),
    )


async def _signing_keys(connection: Connection, users: Sequence[UserID]) -> list[SigningKeyUpdate]:
    rows = await cross_signing.keys_of_users(connection, users)
    found = {(row.user_id, row.usage): source_of(row.key) for row in rows}
    return [
        SigningKeyUpdate(
            user_id,
            master_key=found.get((user_id, Usage.MASTER)),
            self_signing_key=found.get((user_id, Usage.SELF_SIGNING)),
        )
        for user_id in users
    ]
