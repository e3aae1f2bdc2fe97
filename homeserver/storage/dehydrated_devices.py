"""Dehydrated devices: rows of `devices`, with what wakes them up. Spec: MSC3814"""

from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID
from homeserver.storage.database import Connection, Transaction


class DehydratedDeviceRow(NamedTuple):
    """The dehydrated device of a user; `device_data` is JSON."""

    device_id: DeviceID
    device_data: bytes


async def lock(tx: Transaction, user_id: str) -> None:
    """Let nobody else replace the dehydrated device of the user until the transaction ends."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('dehydrated_device ' || $1, 0))", user_id
    )


async def of_user(connection: Connection, user_id: str) -> DehydratedDeviceRow | None:
    """Read the dehydrated device of a user."""
    row = await connection.fetchrow(
        "SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1", user_id
    )
    return DehydratedDeviceRow(*row) if row else None


async def insert(tx: Transaction, user_id: str, row: DehydratedDeviceRow) -> None:
    """Make an existing device the dehydrated one of its user, who has none."""
    await tx.execute(
        "INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES ($1, $2, $3)",
        user_id,
        *row,
    )
