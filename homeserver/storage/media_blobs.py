"""The bytes of media by their SHA-256; times are in milliseconds since 1970.

Other tables name blobs in a column `sha256` with a foreign key and the trigger function
`count_blob_references`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class BlobRow(NamedTuple):
    """Bytes that are in the store."""

    sha256: bytes
    byte_count: int
    reference_count: int


async def announce(connection: Connection, sha256: bytes, byte_count: int, now_ts: int) -> bool:
    """Say that somebody is about to refer to bytes; returns whether the store has them.

    They are not removed for a while after this. Waits for a removal that is going on.
    """
    is_stored: bool = await connection.fetchval(
        """
        INSERT INTO media_blobs (sha256, byte_count, touched_ts) VALUES ($1, $2, $3)
        ON CONFLICT (sha256) DO UPDATE SET touched_ts = excluded.touched_ts
        RETURNING is_stored
        """,
        sha256,
        byte_count,
        now_ts,
    )
    return is_stored


async def mark_stored(tx: Transaction, sha256: bytes) -> bool:
    """Say that the store has the bytes, which were announced.

    False: they were removed meanwhile, because too long has passed since.
    """
    status = await tx.execute("UPDATE media_blobs SET is_stored = true WHERE sha256 = $1", sha256)
    return status == "UPDATE 1"


async def condemn(connection: Connection, before_ts: int, limit: int) -> list[bytes]:
    """Mark bytes that nothing refers to as not stored, and return which to remove."""
    rows = await connection.fetch(
        """
        UPDATE media_blobs SET is_stored = false
        WHERE sha256 IN (
            SELECT sha256 FROM media_blobs
            WHERE reference_count = 0 AND touched_ts < $1
            ORDER BY touched_ts LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING sha256
        """,
        before_ts,
        limit,
    )
    return [row["sha256"] for row in rows]


async def delete_condemned(tx: Transaction, sha256: bytes, before_ts: int) -> bool:
    """Forget bytes that are condemned still; remove them from the store before the commit."""
    status = await tx.execute(
        """
        DELETE FROM media_blobs
        WHERE sha256 = $1 AND reference_count = 0 AND NOT is_stored AND touched_ts < $2
        """,
        sha256,
        before_ts,
    )
    return status == "DELETE 1"


async def page(connection: Connection, after: bytes, limit: int) -> Sequence[BlobRow]:
    """Return stored bytes in the order of their hashes, those after one; b"" begins."""
    rows = await connection.fetch(
        """
        SELECT sha256, byte_count, reference_count FROM media_blobs
        WHERE is_stored AND sha256 > $1 ORDER BY sha256 LIMIT $2
        """,
        after,
        limit,
    )
    return [BlobRow(row["sha256"], row["byte_count"], row["reference_count"]) for row in rows]


async def totals(connection: Connection) -> tuple[int, int]:
    """Return how many files the store has and how many bytes they are."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS files, coalesce(sum(byte_count), 0)::bigint AS byte_count
        FROM media_blobs WHERE is_stored
        """
    )
    assert row is not None
    return row["files"], row["byte_count"]


async def is_stored(connection: Connection, sha256: bytes) -> bool:
    """Return whether the store should have some bytes."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM media_blobs WHERE sha256 = $1 AND is_stored)", sha256
    )
    return found
