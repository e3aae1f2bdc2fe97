"""Users whose data is erased, and up to where others may still read what they have said."""

from collections.abc import Collection

from homeserver.storage.database import Connection, Transaction

# What belongs to a user and to nobody else; all have a column `user_id`. What belongs to devices
# goes with them, and the profile goes with every account that ends.
_OWN_TABLES = (
    "account_data", "push_rules", "filters", "openid_tokens", "key_backup_versions",
)  # fmt: skip


async def delete_own_data(tx: Transaction, user_id: str) -> None:
    """Delete everything of a user that is no event."""
    for table in _OWN_TABLES:
        await tx.execute(f"DELETE FROM {table} WHERE user_id = $1", user_id)


async def add(tx: Transaction, user_id: str, pos: int) -> None:
    """Record that a user was erased at a position of the log."""
    await tx.execute(
        """
        INSERT INTO erased_users (user_id, pos) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING
        """,
        user_id,
        pos,
    )


async def all_positions(connection: Connection) -> dict[str, int]:
    """Read at which position each erased user was erased."""
    rows = await connection.fetch("SELECT user_id, pos FROM erased_users")
    return {row["user_id"]: row["pos"] for row in rows}


async def room_versions_of(connection: Connection, room_nids: Collection[int]) -> dict[int, str]:
    """Read the versions of rooms, by which their events are redacted."""
    rows = await connection.fetch(
        "SELECT room_nid, room_version FROM rooms WHERE room_nid = ANY ($1::bigint[])",
        list(room_nids),
    )
    return {row["room_nid"]: row["room_version"] for row in rows}
