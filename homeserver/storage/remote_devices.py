"""The devices of users of other servers, as far as their lists are known."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection
from homeserver.storage.outbound import SERVER_OF_MEMBER


class RemoteDeviceRow(NamedTuple):
    """One device; `keys` is the key object as JSON, None for a device without keys."""

    device_id: DeviceID
    keys: bytes | None
    display_name: str | None


class RemoteListRow(NamedTuple):
    """The list of one user, as of `stream_id` of the user's server; keys are JSON objects."""

    user_id: UserID
    stream_id: int
    master_key: bytes | None
    self_signing_key: bytes | None
    devices: Sequence[RemoteDeviceRow]


# Whether the user `l` is in a room in which there is somebody of the server $1.
SHARES_ROOM: Final = f"""
    EXISTS (
        SELECT FROM memberships r JOIN memberships m ON m.room_nid = r.room_nid
        WHERE r.user_id = l.user_id AND r.membership = 'join'
          AND {SERVER_OF_MEMBER} = $1 AND m.membership = 'join'
    )
"""


_COLUMNS: Final = ("ids", "keys", "names")


async def fresh_lists(
    connection: Connection, own_name: str, user_ids: Sequence[str]
) -> dict[UserID, RemoteListRow]:
    """Return the lists of those users of whom nothing was missed, and with whom a room is shared.

    Of others their servers tell nothing: their lists wait to be forgotten.
    """
    rows = await connection.fetch(
        f"""
        SELECT l.user_id, l.stream_id, l.master_key, l.self_signing_key,
               array_agg(d.device_id) FILTER (WHERE d.device_id IS NOT NULL) AS ids,
               array_agg(d.keys) FILTER (WHERE d.device_id IS NOT NULL) AS keys,
               array_agg(d.display_name) FILTER (WHERE d.device_id IS NOT NULL) AS names
        FROM remote_device_lists l LEFT JOIN remote_devices d ON d.user_id = l.user_id
        WHERE l.user_id = ANY ($2::text[]) AND NOT l.is_stale AND {SHARES_ROOM}
        GROUP BY l.user_id
        """,
        own_name,
        list(user_ids),
    )
    return {
        UserID(row["user_id"]): RemoteListRow(
            row["user_id"],
            row["stream_id"],
            row["master_key"],
            row["self_signing_key"],
            [
                RemoteDeviceRow(*device)
                for device in zip(*(row[each] or () for each in _COLUMNS), strict=True)
            ],
        )
        for row in rows
    }


async def master_keys(connection: Connection, user_ids: Sequence[str]) -> dict[UserID, bytes]:
    """Return the master keys of users of other servers that are known, as JSON objects."""
    rows = await connection.fetch(
        """
        SELECT user_id, master_key FROM remote_device_lists
        WHERE user_id = ANY ($1::text[]) AND master_key IS NOT NULL
        """,
        list(user_ids),
    )
    return {UserID(row["user_id"]): row["master_key"] for row in rows}
