"""The devices of local users."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction


class DeviceRow(NamedTuple):
    """One device; last_seen_… are None before its first request."""

    device_id: DeviceID
    display_name: str | None
    created_ts: int
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None


class RemovedDevice(NamedTuple):
    """A device that was deleted, with its identity keys, if it had any."""

    device_id: DeviceID
    had_keys: bool


class Sighting(NamedTuple):
    """A request that a device made."""

    user_id: UserID
    device_id: DeviceID
    ts: int
    ip: str
    user_agent: str


# As it was before the statement, which takes the keys with the device.
_HAD_KEYS: Final = """
    EXISTS (SELECT FROM device_keys k WHERE k.user_id = d.user_id AND k.device_id = d.device_id)
"""


async def add(
    tx: Transaction, user_id: str, device_id: str, display_name: str | None, now_ms: int
) -> bool:
    """Make a device unless it exists; True: it is new. An existing one is locked."""
    row = await tx.fetchrow(
        """
        INSERT INTO devices (user_id, device_id, display_name, created_ts)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, device_id) DO UPDATE SET display_name = devices.display_name
        RETURNING xmax = 0 AS is_new
        """,
        user_id,
        device_id,
        display_name,
        now_ms,
    )
    assert row is not None
    return bool(row["is_new"])


async def devices_of(connection: Connection, user_id: str) -> list[DeviceRow]:
    """List a user's devices, oldest first."""
    rows = await connection.fetch(
        """
        SELECT device_id, display_name, created_ts, last_seen_ts, last_seen_ip,
               last_seen_user_agent
        FROM devices WHERE user_id = $1 ORDER BY created_ts, device_id
        """,
        user_id,
    )
    return [DeviceRow(*row) for row in rows]


async def device_of(connection: Connection, user_id: str, device_id: str) -> DeviceRow | None:
    """Read one device."""
    row = await connection.fetchrow(
        """
        SELECT device_id, display_name, created_ts, last_seen_ts, last_seen_ip,
               last_seen_user_agent
        FROM devices WHERE user_id = $1 AND device_id = $2
        """,
        user_id,
        device_id,
    )
    return DeviceRow(*row) if row else None


async def rename(tx: Transaction, user_id: str, device_id: str, display_name: str) -> bool:
    """Give a device another display name; False: there is no such device."""
    row = await tx.fetchrow(
        """
        UPDATE devices SET display_name = $3
        WHERE user_id = $1 AND device_id = $2 RETURNING device_id
        """,
        user_id,
        device_id,
        display_name,
    )
    return row is not None


async def delete(tx: Transaction, user_id: str, device_ids: Sequence[str]) -> list[RemovedDevice]:
    """Delete devices with their tokens and all that belongs to them; return those that were."""
    rows = await tx.fetch(
        f"""
        DELETE FROM devices d WHERE d.user_id = $1 AND d.device_id = ANY ($2::text[])
        RETURNING d.device_id, {_HAD_KEYS}
        """,
        user_id,
        list(device_ids),
    )
    return [RemovedDevice(*row) for row in rows]


async def delete_all(
    tx: Transaction, user_id: str, *, except_device_id: str | None = None
) -> list[RemovedDevice]:
    """Delete all devices of a user, or all but one; return those that were."""
    rows = await tx.fetch(
        f"""
        DELETE FROM devices d WHERE d.user_id = $1 AND d.device_id IS DISTINCT FROM $2
        RETURNING d.device_id, {_HAD_KEYS}
        """,
        user_id,
        except_device_id,
    )
    return [RemovedDevice(*row) for row in rows]


async def record_sightings(connection: Connection, sightings: Sequence[Sighting]) -> None:
    """Record when and where devices were last seen; of devices that are gone nothing is kept."""
    columns = [list(column) for column in zip(*sightings, strict=True)]
    await connection.execute(
        """
        UPDATE devices d
        SET last_seen_ts = s.ts, last_seen_ip = s.ip, last_seen_user_agent = s.user_agent
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
             AS s (user_id, device_id, ts, ip, user_agent)
        WHERE d.user_id = s.user_id AND d.device_id = s.device_id
          AND (d.last_seen_ts IS NULL OR d.last_seen_ts < s.ts)
        """,
        *columns,
    )
