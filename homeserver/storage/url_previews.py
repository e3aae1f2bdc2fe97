"""Previews of pages; times are in milliseconds since 1970."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class PreviewRow(NamedTuple):
    """What a page said from `fetched_ts` until `expires_ts`; `image_id` is a media of ours."""

    key: bytes
    fetched_ts: int
    expires_ts: int
    url: str
    preview: bytes
    image_id: str | None


async def find(connection: Connection, key: bytes, ts: int) -> PreviewRow | None:
    """Return what a page said at a time, None if that is not known."""
    row = await connection.fetchrow(
        """
        SELECT key, fetched_ts, expires_ts, url, preview, image_id FROM url_previews
        WHERE key = $1 AND fetched_ts <= $2 AND expires_ts > $2
        ORDER BY fetched_ts DESC LIMIT 1
        """,
        key,
        ts,
    )
    return None if row is None else PreviewRow(*row)


async def insert(tx: Transaction, preview: PreviewRow) -> None:
    """Keep a preview; one that another node has fetched at the same moment stays."""
    await tx.execute(
        """
        INSERT INTO url_previews (key, fetched_ts, expires_ts, url, preview, image_id)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
        """,
        *preview,
    )


async def delete_older(tx: Transaction, before_ts: int, limit: int) -> tuple[int, Sequence[str]]:
    """Forget previews that were fetched before a time.

    Returns how many, and the images that no preview has any more.
    """
    rows = await tx.fetch(
        """
        DELETE FROM url_previews WHERE (key, fetched_ts) IN (
            SELECT key, fetched_ts FROM url_previews WHERE fetched_ts < $1
            ORDER BY fetched_ts LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING image_id
        """,
        before_ts,
        limit,
    )
    images = {row["image_id"] for row in rows if row["image_id"] is not None}
    if not images:
        return len(rows), ()
    used = await tx.fetch(
        "SELECT image_id FROM url_previews WHERE image_id = ANY($1::text[])", list(images)
    )
    return len(rows), sorted(images - {row["image_id"] for row in used})
