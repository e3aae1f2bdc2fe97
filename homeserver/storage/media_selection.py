"""Many media at once: what retention and operators remove, quarantine and protect."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from homeserver.storage.database import Connection, Transaction

_MATCHES: Final = """
    ($1::text[] IS NULL OR (m.origin, m.media_id) IN (
        SELECT * FROM unnest($1::text[], $2::text[])
    ))
    AND ($3::text IS NULL OR m.uploader = $3)
    AND ($4::text IS NULL OR EXISTS (
        SELECT 1 FROM media_references r
        JOIN events e ON e.event_nid = r.event_nid JOIN rooms o ON o.room_nid = e.room_nid
        WHERE r.origin = m.origin AND r.media_id = m.media_id
          AND r.is_attached AND e.state_key IS NULL AND o.room_id = $4
    ))
    AND ($5::text IS NULL OR m.origin = $5)
    AND ($6::text IS NULL OR m.origin <> $6)
    AND ($7::bigint IS NULL OR m.last_access_ts < $7)
    AND ($8::bigint IS NULL OR m.created_ts < $8)
"""
# What is in use although nobody may have read it for long, and what must not come back.
_IS_EXPENDABLE: Final = """
    NOT m.is_protected AND m.quarantined_by IS NULL AND m.sha256 IS NOT NULL
    AND NOT EXISTS (
        SELECT 1 FROM profile_fields p WHERE p.name = 'avatar_url'
          AND p.value = convert_to(format('"mxc://%s/%s"', m.origin, m.media_id), 'UTF8')
    )
    AND NOT EXISTS (SELECT 1 FROM url_previews u WHERE u.image_id = m.media_id)
"""


class MediaSelection(NamedTuple):
    """Media that fulfills everything that is not None; times in ms since 1970.

    `room_id` is where messages have it attached, as far as they are not encrypted.
    """

    uris: Sequence[tuple[str, str]] | None = None
    uploader: str | None = None
    room_id: str | None = None
    origin: str | None = None
    not_origin: str | None = None
    unused_since_ts: int | None = None
    created_before_ts: int | None = None


class UserUsage(NamedTuple):
    """How much a user has uploaded that is still there."""

    uploader: str
    files: int
    byte_count: int


async def measure(connection: Connection, selection: MediaSelection) -> tuple[int, int]:
    """Return how many media are selected, and how many bytes they have one by one."""
    row = await connection.fetchrow(
        f"""
        SELECT count(*) AS files, coalesce(sum(m.byte_count), 0)::bigint AS byte_count
        FROM media m WHERE {_MATCHES}
        """,
        *_parameters(selection),
    )
    assert row is not None
    return row["files"], row["byte_count"]


async def delete_expendable(tx: Transaction, selection: MediaSelection, limit: int) -> int:
    """Remove media that is neither protected, quarantined, an avatar nor in a preview."""
    return _count(
        await tx.execute(
            f"""
            DELETE FROM media WHERE (origin, media_id) IN (
                SELECT m.origin, m.media_id FROM media m WHERE {_MATCHES} AND {_IS_EXPENDABLE}
                LIMIT $9 FOR UPDATE OF m SKIP LOCKED
            )
            """,
            *_parameters(selection),
            limit,
        )
    )


async def delete_unprotected(
    tx: Transaction, selection: MediaSelection, own_name: str, limit: int
) -> int:
    """Remove media that is not protected; quarantined media of others stays, or it came back."""
    return _count(
        await tx.execute(
            f"""
            DELETE FROM media WHERE (origin, media_id) IN (
                SELECT m.origin, m.media_id FROM media m
                WHERE {_MATCHES} AND NOT m.is_protected
                  AND (m.quarantined_by IS NULL OR m.origin = $9)
                LIMIT $10 FOR UPDATE OF m
            )
            """,
            *_parameters(selection),
            own_name,
            limit,
        )
    )


async def quarantine(tx: Transaction, selection: MediaSelection, by: str) -> int:
    """Hide media that is not protected, and all that has the same bytes; returns how many."""
    return _count(
        await tx.execute(
            f"""
            UPDATE media SET quarantined_by = $9
            WHERE quarantined_by IS NULL AND NOT is_protected AND (
                (origin, media_id) IN (SELECT m.origin, m.media_id FROM media m WHERE {_MATCHES})
                OR sha256 IN (SELECT m.sha256 FROM media m WHERE {_MATCHES})
            )
            """,
            *_parameters(selection),
            by,
        )
    )


async def quarantine_unseen(
    tx: Transaction, uris: Sequence[tuple[str, str]], by: str, *, own_name: str, now_ts: int
) -> int:
    """Hide media of other servers that is not here yet; returns how many."""
    return _count(
        await tx.execute(
            """
            INSERT INTO media (origin, media_id, created_ts, last_access_ts, quarantined_by)
            SELECT u.origin, u.media_id, $4, $4, $3
            FROM unnest($1::text[], $2::text[]) AS u (origin, media_id) WHERE u.origin <> $5
            ON CONFLICT DO NOTHING
            """,
            [origin for origin, _ in uris],
            [media_id for _, media_id in uris],
            by,
            now_ts,
            own_name,
        )
    )


async def release(tx: Transaction, selection: MediaSelection) -> int:
    """Let quarantined media be seen again; returns how many."""
    released = _count(
        await tx.execute(
            f"""
            UPDATE media SET quarantined_by = NULL WHERE (origin, media_id) IN (
                SELECT m.origin, m.media_id FROM media m
                WHERE {_MATCHES} AND m.quarantined_by IS NOT NULL AND m.sha256 IS NOT NULL
            )
            """,
            *_parameters(selection),
        )
    )
    # Those of other servers that were never here are fetched when somebody asks.
    unseen = _count(
        await tx.execute(
            f"""
            DELETE FROM media WHERE (origin, media_id) IN (
                SELECT m.origin, m.media_id FROM media m
                WHERE {_MATCHES} AND m.quarantined_by IS NOT NULL AND m.sha256 IS NULL
            )
            """,
            *_parameters(selection),
        )
    )
    return released + unseen


async def protect(tx: Transaction, selection: MediaSelection, *, is_protected: bool) -> int:
    """Protect media or end that; returns how many have changed."""
    return _count(
        await tx.execute(
            f"""
            UPDATE media SET is_protected = $9 WHERE is_protected <> $9
            AND (origin, media_id) IN (SELECT m.origin, m.media_id FROM media m WHERE {_MATCHES})
            """,
            *_parameters(selection),
            is_protected,
        )
    )


async def usage_by_user(connection: Connection, limit: int) -> list[UserUsage]:
    """Return the users whose uploads take the most bytes."""
    rows = await connection.fetch(
        """
        SELECT uploader, count(*) AS files, sum(byte_count)::bigint AS byte_count
        FROM media WHERE uploader IS NOT NULL AND sha256 IS NOT NULL
        GROUP BY uploader ORDER BY byte_count DESC, uploader LIMIT $1
        """,
        limit,
    )
    return [UserUsage(*row) for row in rows]


async def remote_usage(connection: Connection, own_name: str) -> tuple[int, int]:
    """Return how many media of other servers are here, and how many bytes they have."""
    return await measure(connection, MediaSelection(not_origin=own_name))


def _parameters(selection: MediaSelection) -> tuple[Any, ...]:
    uris, *others = selection
    if uris is None:
        return (None, None, *others)
    return ([origin for origin, _ in uris], [media_id for _, media_id in uris], *others)


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[1])
