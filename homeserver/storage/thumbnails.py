"""Thumbnails: which bytes show a picture at which size.

They belong to the bytes of the picture and go with them. Triggers count the bytes that they name.
"""

from typing import Any, Final, NamedTuple

from homeserver.storage.database import Connection, Transaction

# One for every size that clients ask for, and an end for who asks for all sizes.
MAX_OF_ONE_PICTURE: Final = 48


class ThumbnailKey(NamedTuple):
    """The bytes of a picture, and what was asked for."""

    source_sha256: bytes
    width: int
    height: int
    method: str
    is_animated: bool


class StoredThumbnail(NamedTuple):
    """A thumbnail; `sha256` None: the picture itself serves as such."""

    sha256: bytes | None
    byte_count: int
    content_type: str
    width: int
    height: int


async def find(connection: Connection, key: ThumbnailKey) -> StoredThumbnail | None:
    """Return a thumbnail that has been made."""
    row = await connection.fetchrow(
        """
        SELECT sha256, byte_count, content_type, made_width, made_height FROM thumbnails
        WHERE source_sha256 = $1 AND width = $2 AND height = $3 AND method = $4
            AND is_animated = $5
        """,
        *key,
    )
    if row is None:
        return None
    values: Any = tuple(row)
    return StoredThumbnail(*values)


async def insert(tx: Transaction, key: ThumbnailKey, made: StoredThumbnail) -> None:
    """Add a thumbnail, unless there is one, the picture is gone, or it has too many."""
    await tx.execute(
        """
        INSERT INTO thumbnails (source_sha256, width, height, method, is_animated, sha256,
            byte_count, content_type, made_width, made_height)
        SELECT b.sha256, $2, $3, $4, $5, $6, $7, $8, $9, $10
        FROM media_blobs b
        WHERE b.sha256 = $1
            AND (SELECT count(*) FROM thumbnails t WHERE t.source_sha256 = $1) < $11
        FOR KEY SHARE OF b
        ON CONFLICT DO NOTHING
        """,
        *key,
        *made,
        MAX_OF_ONE_PICTURE,
    )
