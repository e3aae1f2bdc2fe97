"""What other servers are told of the devices of local users."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection
from homeserver.storage.device_keys import StoredKey


class DeviceState(NamedTuple):
    """A device as it is now; `prev_pos` is of the update before the one asked about."""

    exists: bool
    display_name: str | None
    key: StoredKey | None
    prev_pos: int | None


async def states_of(
    connection: Connection, changes: Sequence[tuple[UserID, DeviceID, int]]
) -> list[DeviceState]:
    """Read devices, each asked about by user, device and the position of its update."""
    rows = await connection.fetch(
        """
        SELECT d.device_id IS NOT NULL, d.display_name, k.keys, k.signatures, (
            SELECT max(c.pos) FROM user_changes c
            WHERE c.user_id = w.user_id AND c.pos < w.pos
              AND c.kind IN ('device_changed', 'device_keys_changed')
        )
        FROM unnest($1::text[], $2::text[], $3::bigint[])
             WITH ORDINALITY AS w (user_id, device_id, pos, ord)
        LEFT JOIN devices d ON d.user_id = w.user_id AND d.device_id = w.device_id
        LEFT JOIN device_keys k ON k.user_id = w.user_id AND k.device_id = w.device_id
        ORDER BY w.ord
        """,
        [user_id for user_id, _, _ in changes],
        [device_id for _, device_id, _ in changes],
        [pos for _, _, pos in changes],
    )
    return [
        DeviceState(row[0], row[1], None if row[2] is None else StoredKey(row[2], row[3]), row[4])
        for row in rows
    ]
