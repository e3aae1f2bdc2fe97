"""Server-side key backups. Spec: client-server-api/#server-side-key-backups"""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection, Record, Transaction


class BackupVersionRow(NamedTuple):
    """A backup; `auth_data` is JSON, and `etag` grows with every change of the keys."""

    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    key_count: int


class RoomKeyRow(NamedTuple):
    """A room key; `session_data` is JSON."""

    room_id: str
    session_id: str
    first_message_index: int
    forwarded_count: int
    is_verified: bool
    session_data: bytes


class KeySelection(NamedTuple):
    """Which keys of a backup: all, those of a room, or the one of a session."""

    room_id: str | None = None
    session_id: str | None = None


class BackupUsage(NamedTuple):
    """How much a user keeps in all backups together."""

    versions: int
    keys: int


async def lock(tx: Transaction, user_id: str) -> None:
    """Let nobody else write backups of the user until the transaction ends."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('key_backup ' || $1, 0))", user_id
    )


async def usage_of(tx: Transaction, user_id: str) -> BackupUsage:
    """Measure what a user keeps."""
    row = await tx.fetchrow(
        """
        SELECT count(*) AS versions, coalesce(sum(key_count), 0)::bigint AS keys
        FROM key_backup_versions WHERE user_id = $1 AND NOT is_deleted
        """,
        user_id,
    )
    assert row is not None
    return BackupUsage(row["versions"], row["keys"])


async def insert_version(tx: Transaction, user_id: str, algorithm: str, auth_data: bytes) -> int:
    """Make a backup under the next number, which is returned. Lock the user first."""
    version: int = await tx.fetchval(
        """
        INSERT INTO key_backup_versions (user_id, version, algorithm, auth_data)
        SELECT $1, coalesce(max(version), 0) + 1, $2, $3
        FROM key_backup_versions WHERE user_id = $1
        RETURNING version
        """,
        user_id,
        algorithm,
        auth_data,
    )
    return version


async def current_version(connection: Connection, user_id: str) -> BackupVersionRow | None:
    """Read the newest backup."""
    row = await connection.fetchrow(
        """
        SELECT version, algorithm, auth_data, etag, key_count FROM key_backup_versions
        WHERE user_id = $1 AND NOT is_deleted ORDER BY version DESC LIMIT 1
        """,
        user_id,
    )
    return BackupVersionRow(*row) if row else None


async def version_of(connection: Connection, user_id: str, version: int) -> BackupVersionRow | None:
    """Read one backup that is not deleted."""
    row = await connection.fetchrow(
        """
        SELECT version, algorithm, auth_data, etag, key_count FROM key_backup_versions
        WHERE user_id = $1 AND version = $2 AND NOT is_deleted
        """,
        user_id,
        version,
    )
    return BackupVersionRow(*row) if row else None


async def set_auth_data(tx: Transaction, user_id: str, version: int, auth_data: bytes) -> None:
    """Replace what a backup says of its encryption."""
    await tx.execute(
        "UPDATE key_backup_versions SET auth_data = $3 WHERE user_id = $1 AND version = $2",
        user_id,
        version,
        auth_data,
    )


async def delete_version(tx: Transaction, user_id: str, version: int) -> bool:
    """Delete a backup with its keys, again too; False: there has never been one."""
    row = await tx.fetchrow(
        """
        WITH keys AS (DELETE FROM backed_up_keys WHERE user_id = $1 AND version = $2)
        UPDATE key_backup_versions
        SET is_deleted = true, algorithm = '', auth_data = '{}', key_count = 0
        WHERE user_id = $1 AND version = $2 RETURNING version
        """,
        user_id,
        version,
    )
    return row is not None


async def delete_all(tx: Transaction, user_id: str) -> None:
    """Delete all backups of a user who will not come back."""
    await tx.execute("DELETE FROM key_backup_versions WHERE user_id = $1", user_id)


async def put_keys(
    tx: Transaction, user_id: str, version: int, keys: Sequence[RoomKeyRow]
) -> BackupVersionRow:
    """Store those of the keys that are new or better than what is stored, in one statement.

    No session twice. Returns the backup as it is afterwards.
    """
    columns = [list(column) for column in zip(*keys, strict=True)] if keys else [[]] * 6
    row = await tx.fetchrow(
        """
        WITH written AS (
            INSERT INTO backed_up_keys AS k (user_id, version, room_id, session_id,
                first_message_index, forwarded_count, is_verified, session_data)
            SELECT $1, $2, n.* FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[],
                                           $7::boolean[], $8::bytea[]) AS n
            ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE
            SET first_message_index = excluded.first_message_index,
                forwarded_count = excluded.forwarded_count,
                is_verified = excluded.is_verified, session_data = excluded.session_data
            -- "it will keep the key that has is_verified set to true", then "the key with a lower
            -- first_message_index", "and finally … the key with a lower forwarded_count".
            WHERE (NOT excluded.is_verified, excluded.first_message_index,
                   excluded.forwarded_count)
                < (NOT k.is_verified, k.first_message_index, k.forwarded_count)
            RETURNING k.xmax = 0 AS is_new
        )
        UPDATE key_backup_versions v
        SET etag = v.etag + (w.changed > 0)::integer, key_count = v.key_count + w.new
        FROM (SELECT count(*) AS changed, count(*) FILTER (WHERE is_new) AS new FROM written) w
        WHERE v.user_id = $1 AND v.version = $2
        RETURNING v.version, v.algorithm, v.auth_data, v.etag, v.key_count
        """,
        user_id,
        version,
        *columns,
    )
    return _written(row)


async def delete_keys(
    tx: Transaction, user_id: str, version: int, selection: KeySelection
) -> BackupVersionRow:
    """Delete keys and return the backup as it is afterwards."""
    row = await tx.fetchrow(
        """
        WITH deleted AS (
            DELETE FROM backed_up_keys
            WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3)
              AND ($4::text IS NULL OR session_id = $4)
            RETURNING 1
        )
        UPDATE key_backup_versions v
        SET etag = v.etag + (d.count > 0)::integer, key_count = v.key_count - d.count
        FROM (SELECT count(*) FROM deleted) d
        WHERE v.user_id = $1 AND v.version = $2
        RETURNING v.version, v.algorithm, v.auth_data, v.etag, v.key_count
        """,
        user_id,
        version,
        *selection,
    )
    return _written(row)


async def key_of(
    connection: Connection, user_id: str, version: int, room_id: str, session_id: str
) -> RoomKeyRow | None:
    """Read the key of a session."""
    row = await connection.fetchrow(
        """
        SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
        FROM backed_up_keys
        WHERE user_id = $1 AND version = $2 AND room_id = $3 AND session_id = $4
        """,
        user_id,
        version,
        room_id,
        session_id,
    )
    return RoomKeyRow(*row) if row else None


async def keys_after(
    connection: Connection,
    user_id: str,
    version: int,
    room_id: str | None,
    after: tuple[str, str],
    limit: int,
) -> list[RoomKeyRow]:
    """Read the first keys after a room and session, of one room or all, in the order of both."""
    rows = await connection.fetch(
        """
        SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
        FROM backed_up_keys
        WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3)
          AND (room_id, session_id) > ($4, $5)
        ORDER BY room_id, session_id LIMIT $6
        """,
        user_id,
        version,
        room_id,
        *after,
        limit,
    )
    return [RoomKeyRow(*row) for row in rows]


def _written(row: Record | None) -> BackupVersionRow:
    assert row is not None
    return BackupVersionRow(*row)
