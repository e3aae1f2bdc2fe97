"""Keeping what is known of the devices of other servers' users up with what is told of them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.remote_devices import SHARES_ROOM, RemoteDeviceRow


class ListState(NamedTuple):
    """As of which update of its server a list is, and whether one was missed: that one then."""

    stream_id: int
    is_stale: bool


# As of no update: clients have asked for the keys, and the list is asked for because of that.
WANTED: Final = -(2**63)


async def shares_room(connection: Connection, own_name: str, user_id: str) -> bool:
    """Whether a user is in a room with somebody of this server."""
    shares: bool = await connection.fetchval(
        f"SELECT {SHARES_ROOM} FROM (SELECT $2::text AS user_id) l", own_name, user_id
    )
    return shares


async def lock_list(tx: Transaction, user_id: str) -> ListState | None:
    """Return the state of a list, which nobody else changes until the end; None: not kept."""
    row = await tx.fetchrow(
        "SELECT stream_id, is_stale FROM remote_device_lists WHERE user_id = $1 FOR UPDATE", user_id
    )
    return ListState(*row) if row else None


async def state_of(connection: Connection, user_id: str) -> ListState | None:
    """Return the state of a list; None: not kept."""
    row = await connection.fetchrow(
        "SELECT stream_id, is_stale FROM remote_device_lists WHERE user_id = $1", user_id
    )
    return ListState(*row) if row else None


async def mark_stale(tx: Transaction, user_id: str, stream_id: int) -> None:
    """Note that a list has to be asked for, or asked for again, because of an update."""
    await tx.execute(
        """
        INSERT INTO remote_device_lists (user_id, stream_id, is_stale) VALUES ($1, $2, true)
        ON CONFLICT (user_id) DO UPDATE SET is_stale = true, stream_id = excluded.stream_id
        """,
        user_id,
        stream_id,
    )


async def add_wanted(
    connection: Connection, own_name: str, user_ids: Sequence[str], stream_id: int
) -> list[UserID]:
    """Begin lists, to be asked for, of users with whom a room is shared; return the new ones."""
    rows = await connection.fetch(
        f"""
        INSERT INTO remote_device_lists (user_id, stream_id, is_stale)
        SELECT l.user_id, $3, true FROM unnest($2::text[]) AS l (user_id) WHERE {SHARES_ROOM}
        ORDER BY l.user_id
        ON CONFLICT (user_id) DO NOTHING
        RETURNING user_id
        """,
        own_name,
        list(user_ids),
        stream_id,
    )
    return [UserID(row["user_id"]) for row in rows]


async def put_device(tx: Transaction, user_id: str, device: RemoteDeviceRow) -> None:
    """Put a device into a list that is kept."""
    await tx.execute(
        """
        INSERT INTO remote_devices (user_id, device_id, keys, display_name)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, device_id) DO UPDATE
        SET keys = excluded.keys, display_name = excluded.display_name
        """,
        user_id,
        *device,
    )


async def delete_device(tx: Transaction, user_id: str, device_id: DeviceID) -> None:
    """Take a device out of a list."""
    await tx.execute(
        "DELETE FROM remote_devices WHERE user_id = $1 AND device_id = $2", user_id, device_id
    )


async def count_devices(tx: Transaction, user_id: str) -> int:
    """Return how many devices a list has."""
    count: int = await tx.fetchval(
        "SELECT count(*) FROM remote_devices WHERE user_id = $1", user_id
    )
    return count


async def set_stream_id(tx: Transaction, user_id: str, stream_id: int) -> None:
    """Note as of which update a list is."""
    await tx.execute(
        "UPDATE remote_device_lists SET stream_id = $2 WHERE user_id = $1", user_id, stream_id
    )


async def set_cross_signing(
    tx: Transaction, user_id: str, master_key: bytes | None, self_signing_key: bytes | None
) -> None:
    """Take new cross-signing keys, where there are any; the others stay."""
    await tx.execute(
        """
        UPDATE remote_device_lists
        SET master_key = coalesce($2, master_key), self_signing_key = coalesce($3, self_signing_key)
        WHERE user_id = $1
        """,
        user_id,
        master_key,
        self_signing_key,
    )


async def replace_list(
    tx: Transaction,
    user_id: str,
    state: ListState,
    master_key: bytes | None,
    self_signing_key: bytes | None,
    devices: Sequence[RemoteDeviceRow],
) -> None:
    """Take a whole list."""
    await tx.execute(
        """
        INSERT INTO remote_device_lists (user_id, stream_id, is_stale, master_key, self_signing_key)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id) DO UPDATE
        SET stream_id = excluded.stream_id, is_stale = excluded.is_stale,
            master_key = excluded.master_key, self_signing_key = excluded.self_signing_key
        """,
        user_id,
        *state,
        master_key,
        self_signing_key,
    )
    await tx.execute("DELETE FROM remote_devices WHERE user_id = $1", user_id)
    await tx.execute(
        """
        INSERT INTO remote_devices (user_id, device_id, keys, display_name)
        SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::text[])
        """,
        user_id,
        [each.device_id for each in devices],
        [each.keys for each in devices],
        [each.display_name for each in devices],
    )


async def stale_lists(connection: Connection, limit: int) -> list[UserID]:
    """Return some users whose lists have to be asked for, any."""
    rows = await connection.fetch(
        """
        SELECT user_id FROM remote_device_lists WHERE is_stale ORDER BY random() LIMIT $1
        """,
        limit,
    )
    return [UserID(row["user_id"]) for row in rows]


async def forget_unshared(
    tx: Transaction, own_name: str, user_ids: Sequence[str], room_nids: Sequence[int]
) -> None:
    """Delete the lists of users, and of the members of rooms, with whom no room is shared."""
    await tx.execute(
        f"""
        DELETE FROM remote_device_lists l
        WHERE (l.user_id = ANY ($2::text[]) OR l.user_id IN (
            SELECT user_id FROM memberships WHERE room_nid = ANY ($3::bigint[])
        )) AND NOT {SHARES_ROOM}
        """,
        own_name,
        list(user_ids),
        list(room_nids),
    )
