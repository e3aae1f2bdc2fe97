"""Media and the bytes behind it; times are in milliseconds since 1970.

How bytes come and go without a moment in which a row names what is not in the store: see
`media_repo/store.py`. Triggers count the rows that name a blob.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from homeserver.storage.database import Connection, Record, Transaction

_COLUMNS: Final = """origin, media_id, sha256, byte_count, content_type, filename, uploader,
    created_ts, uploaded_ts, expires_ts, last_access_ts, quarantined_by, is_protected"""


# Who has quarantined the bytes $3 anywhere, if anybody: they are hidden wherever they come again.
_QUARANTINED_BY: Final = """
    (SELECT max(q.quarantined_by) FROM media q WHERE q.sha256 = $3 AND NOT q.is_protected)
"""


class MediaRow(NamedTuple):
    """What an `mxc://` URI stands for; without `sha256` it is not uploaded yet."""

    origin: str
    media_id: str
    sha256: bytes | None
    byte_count: int | None
    content_type: str | None
    filename: str | None
    uploader: str | None
    created_ts: int
    uploaded_ts: int | None
    expires_ts: int | None
    last_access_ts: int
    quarantined_by: str | None
    is_protected: bool


class NewMedia(NamedTuple):
    """Content that is in the store and gets a row."""

    origin: str
    media_id: str
    sha256: bytes
    byte_count: int
    content_type: str
    filename: str | None
    uploader: str | None
    now_ts: int


def row_of_new(media: NewMedia) -> MediaRow:
    """Return the row that `insert` makes."""
    return MediaRow(
        origin=media.origin,
        media_id=media.media_id,
        sha256=media.sha256,
        byte_count=media.byte_count,
        content_type=media.content_type,
        filename=media.filename,
        uploader=media.uploader,
        created_ts=media.now_ts,
        uploaded_ts=media.now_ts,
        expires_ts=None,
        last_access_ts=media.now_ts,
        quarantined_by=None,
        is_protected=False,
    )


class UploadUsage(NamedTuple):
    """How much a user has uploaded in a time; `oldest_ts` None: nothing."""

    files: int
    byte_count: int
    oldest_ts: int | None


async def find(connection: Connection, origin: str, media_id: str) -> MediaRow | None:
    """Return one media."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM media WHERE origin = $1 AND media_id = $2", origin, media_id
    )
    return None if row is None else _media_of(row)


async def uploaded_among(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return those of some media, by origin and ID, for which nobody has to wait any more."""
    rows = await connection.fetch(
        """
        SELECT k.origin, k.media_id
        FROM unnest($1::text[], $2::text[]) AS k (origin, media_id)
        LEFT JOIN media m ON m.origin = k.origin AND m.media_id = k.media_id
        WHERE m.media_id IS NULL OR m.sha256 IS NOT NULL
        """,
        [origin for origin, _ in keys],
        [media_id for _, media_id in keys],
    )
    return [(row["origin"], row["media_id"]) for row in rows]


async def insert(tx: Transaction, media: NewMedia) -> bool:
    """Add content whose bytes are stored; False: there is something under the ID already."""
    status = await tx.execute(
        f"""
        INSERT INTO media (origin, media_id, sha256, byte_count, content_type, filename, uploader,
            created_ts, uploaded_ts, last_access_ts, quarantined_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8, {_QUARANTINED_BY})
        ON CONFLICT DO NOTHING
        """,
        *media,
    )
    return status == "INSERT 0 1"


async def insert_stored(connection: Connection, media: NewMedia) -> bool | None:
    """Mark bytes as stored and add content in one statement, without a transaction around it.

    None: they were removed meanwhile; False: there is something under the ID already.
    """
    is_added: bool | None = await connection.fetchval(
        f"""
        WITH stored AS (
            UPDATE media_blobs SET is_stored = true WHERE sha256 = $3 RETURNING sha256
        ), added AS (
            INSERT INTO media (origin, media_id, sha256, byte_count, content_type, filename,
                uploader, created_ts, uploaded_ts, last_access_ts, quarantined_by)
            SELECT $1, $2, stored.sha256, $4, $5, $6, $7, $8, $8, $8, {_QUARANTINED_BY}
            FROM stored
            ON CONFLICT DO NOTHING
            RETURNING media_id
        )
        SELECT EXISTS (SELECT 1 FROM added) FROM stored
        """,
        *media,
    )
    return is_added


async def insert_pending(
    tx: Transaction, origin: str, media_id: str, uploader: str, *, now_ts: int, expires_ts: int
) -> None:
    """Add an ID whose content comes later."""
    await tx.execute(
        """
        INSERT INTO media (origin, media_id, uploader, created_ts, expires_ts, last_access_ts)
        VALUES ($1, $2, $3, $4, $5, $4)
        """,
        origin,
        media_id,
        uploader,
        now_ts,
        expires_ts,
    )


async def complete(tx: Transaction, media: NewMedia) -> bool:
    """Give an announced ID its content; False: it has some, is gone, or is somebody else's."""
    status = await tx.execute(
        f"""
        UPDATE media SET sha256 = $3, byte_count = $4, content_type = $5, filename = $6,
            uploaded_ts = $8, last_access_ts = $8, expires_ts = NULL,
            quarantined_by = {_QUARANTINED_BY}
        WHERE origin = $1 AND media_id = $2 AND uploader = $7 AND sha256 IS NULL
        """,
        *media,
    )
    return status == "UPDATE 1"


async def delete(tx: Transaction, origin: str, media_id: str) -> bool:
    """Forget a media; its bytes go when nothing names them any more. False: there is none."""
    status = await tx.execute(
        "DELETE FROM media WHERE origin = $1 AND media_id = $2", origin, media_id
    )
    return status == "DELETE 1"


async def delete_expired(connection: Connection, now_ts: int) -> None:
    """Forget announced IDs whose content has not come in time."""
    await connection.execute("DELETE FROM media WHERE sha256 IS NULL AND expires_ts <= $1", now_ts)


async def lock_uploader(tx: Transaction, user_id: str) -> None:
    """Let nobody else count or add media of the user until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('media ' || $1, 0))", user_id)


async def pending_count(connection: Connection, user_id: str, now_ts: int) -> int:
    """Count the announced uploads of a user that have not come and may still."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM media
        WHERE uploader = $1 AND sha256 IS NULL AND expires_ts > $2
        """,
        user_id,
        now_ts,
    )
    return count


async def usage_since(connection: Connection, user_id: str, since_ts: int) -> UploadUsage:
    """Measure what a user has uploaded since a time."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS files, coalesce(sum(byte_count), 0)::bigint AS byte_count,
            min(uploaded_ts) AS oldest_ts
        FROM media WHERE uploader = $1 AND uploaded_ts > $2
        """,
        user_id,
        since_ts,
    )
    assert row is not None
    return UploadUsage(row["files"], row["byte_count"], row["oldest_ts"])


async def touch(connection: Connection, keys: Sequence[tuple[str, str]], now_ts: int) -> None:
    """Write down that media, by origin and ID, has been read."""
    await connection.execute(
        """
        UPDATE media m SET last_access_ts = $3
        FROM unnest($1::text[], $2::text[]) AS k (origin, media_id)
        WHERE m.origin = k.origin AND m.media_id = k.media_id AND m.last_access_ts < $3
        """,
        [origin for origin, _ in keys],
        [media_id for _, media_id in keys],
        now_ts,
    )


def _media_of(row: Record) -> MediaRow:
    values: Any = tuple(row)
    return MediaRow(*values)
