"""Reading the keys of local users, as somebody may see them.

Spec: client-server-api/#key-and-signature-security
"""

from collections.abc import Mapping, Sequence

import msgspec

from homeserver.protocol.device_keys import Usage
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.key_objects import decode, key_object, with_signatures
from homeserver.storage import cross_signing, device_keys
from homeserver.storage.database import Connection


class VisibleKeys(msgspec.Struct, frozen=True):
    """Key objects as JSON, by user and device, and the cross-signing keys by user."""

    device_keys: dict[UserID, dict[DeviceID, bytes]]
    master_keys: dict[UserID, bytes]
    self_signing_keys: dict[UserID, bytes]
    user_signing_keys: dict[UserID, bytes]


async def read_keys(
    connection: Connection, wanted: Mapping[UserID, Sequence[DeviceID]], viewer: UserID | None
) -> VisibleKeys:
    """Read the keys of some devices of users, or of all, where none is named.

    Users who do not exist are left out. A viewer sees besides what the owners have signed only
    what the viewer has; None stands for another server.
    """
    users = await device_keys.existing_users(connection, list(wanted))
    keys = VisibleKeys({user_id: {} for user_id in users}, {}, {}, {})
    for device in await device_keys.keys_of_users(connection, wanted):
        keys.device_keys[device.user_id][device.device_id] = key_object(
            device.key, display_name=device.display_name
        )
    rows = await cross_signing.keys_of_users(connection, list(users))
    own = await _signatures_by(connection, viewer, [row.user_id for row in rows])
    for row in rows:
        if row.usage is Usage.SELF_SIGNING:
            keys.self_signing_keys[row.user_id] = key_object(row.key)
        elif row.usage is Usage.MASTER:
            key = row.key
            if viewer is not None and (row.user_id, row.public_key) in own:
                key = with_signatures(key, viewer, own[row.user_id, row.public_key])
            keys.master_keys[row.user_id] = key_object(key)
        elif row.user_id == viewer:
            keys.user_signing_keys[row.user_id] = key_object(row.key)
    return keys


async def _signatures_by(
    connection: Connection, viewer: UserID | None, targets: Sequence[UserID]
) -> dict[tuple[UserID, str], dict[str, str]]:
    """Return what the viewer has signed, by target and public key."""
    if viewer is None or not targets:
        return {}
    rows = await cross_signing.signatures_by(connection, viewer, targets)
    return {(row.target_id, row.public_key): decode(row.signatures) for row in rows}
