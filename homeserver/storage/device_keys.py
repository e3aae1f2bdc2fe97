"""The identity keys of local devices. What is in the columns: migrations/0017."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction


class StoredKey(NamedTuple):
    """A key object in two parts of JSON: what is signed, and the signatures."""

    keys: bytes
    signatures: bytes


class DeviceKeysRow(NamedTuple):
    """The keys of one device, with the name that its user gave it."""

    user_id: UserID
    device_id: DeviceID
    key: StoredKey
    display_name: str | None


async def lock_device(tx: Transaction, user_id: str, device_id: str) -> bool:
    """Keep other uploads of a device waiting; False: there is no such device."""
    found = await tx.fetchval(
        "SELECT 1 FROM devices WHERE user_id = $1 AND device_id = $2 FOR NO KEY UPDATE",
        user_id,
        device_id,
    )
    return found is not None


async def keys_of_device(connection: Connection, user_id: str, device_id: str) -> StoredKey | None:
    """Read the keys of one device; None: it has none."""
    row = await connection.fetchrow(
        "SELECT keys, signatures FROM device_keys WHERE user_id = $1 AND device_id = $2",
        user_id,
        device_id,
    )
    return StoredKey(row["keys"], row["signatures"]) if row is not None else None


async def keys_of_users(
    connection: Connection, wanted: Mapping[UserID, Sequence[DeviceID]]
) -> list[DeviceKeysRow]:
    """Read the keys of some devices of users, or of all, where none is named."""
    pairs = [(user_id, device_id) for user_id, devices in wanted.items() for device_id in devices]
    rows = await connection.fetch(
        """
        SELECT k.user_id, k.device_id, k.keys, k.signatures, d.display_name
        FROM device_keys k
        JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id
        WHERE k.user_id = ANY ($1::text[])
        UNION ALL
        SELECT k.user_id, k.device_id, k.keys, k.signatures, d.display_name
        FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::text[]) AS p (user_id, device_id)) w
        JOIN device_keys k ON k.user_id = w.user_id AND k.device_id = w.device_id
        JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id
        """,
        [user_id for user_id, devices in wanted.items() if not devices],
        [user_id for user_id, _ in pairs],
        [device_id for _, device_id in pairs],
    )
    return [DeviceKeysRow(row[0], row[1], StoredKey(row[2], row[3]), row[4]) for row in rows]


async def existing_users(connection: Connection, user_ids: Sequence[str]) -> set[UserID]:
    """Return those of the users who have an account here."""
    rows = await connection.fetch(
        "SELECT user_id FROM users WHERE user_id = ANY ($1::text[])", list(user_ids)
    )
    return {UserID(row["user_id"]) for row in rows}


async def put(tx: Transaction, user_id: str, device_id: str, key: StoredKey) -> None:
    """Give a device its keys, or other ones."""
    await tx.execute(
        """
        INSERT INTO device_keys (user_id, device_id, keys, signatures) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, device_id) DO UPDATE
        SET keys = excluded.keys, signatures = excluded.signatures
        """,
        user_id,
        device_id,
        *key,
    )


async def devices_among(
    connection: Connection, user_id: str, device_ids: Sequence[str]
) -> list[DeviceID]:
    """Return those of the IDs that are devices of the user."""
    rows = await connection.fetch(
        "SELECT device_id FROM devices WHERE user_id = $1 AND device_id = ANY ($2::text[])",
        user_id,
        list(device_ids),
    )
    return [DeviceID(row["device_id"]) for row in rows]
