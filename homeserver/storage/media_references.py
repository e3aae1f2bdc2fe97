"""Which events name which media, and the removal of what a redaction leaves over."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from homeserver.storage.database import Transaction

# Bulk removals lock media and the blobs behind it in any order: one of them at a time.
_REMOVAL_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('media removal', 0))"


class MediaReference(NamedTuple):
    """An event names a media; `is_attached`: it is what the event is there for."""

    event_nid: int
    origin: str
    media_id: str
    is_attached: bool


class RedactedCore(NamedTuple):
    """What an event said before it was redacted."""

    event_nid: int
    sender: str
    core: bytes


class LeftOver(NamedTuple):
    """A media that was attached to an event of `sender` that has been redacted."""

    origin: str
    media_id: str
    sender: str


async def lock_removal(tx: Transaction) -> None:
    """Wait until nobody else removes many media, and keep others waiting."""
    await tx.execute(_REMOVAL_LOCK)


async def take_backlog(tx: Transaction, limit: int) -> list[int]:
    """Take backfilled events out of the list of those to be looked at."""
    rows = await tx.fetch(
        """
        DELETE FROM media_reference_backlog WHERE event_nid IN (
            SELECT b.event_nid FROM media_reference_backlog b ORDER BY b.event_nid LIMIT $1
        )
        RETURNING event_nid
        """,
        limit,
    )
    return [row["event_nid"] for row in rows]


async def cores_of(tx: Transaction, event_nids: Collection[int]) -> list[tuple[int, bytes]]:
    """Return what those of some events say now that may name media; they stay meanwhile."""
    rows = await tx.fetch(
        """
        SELECT event_nid, core FROM events
        WHERE event_nid = ANY ($1::bigint[]) AND position('mxc://'::bytea IN core) > 0
        FOR KEY SHARE
        """,
        list(event_nids),
    )
    return [(row["event_nid"], row["core"]) for row in rows]


async def put(tx: Transaction, references: Sequence[MediaReference]) -> None:
    """Write references down; doing it again changes nothing."""
    await tx.execute(
        """
        INSERT INTO media_references (event_nid, origin, media_id, is_attached)
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[])
        ON CONFLICT DO NOTHING
        """,
        [each.event_nid for each in references],
        [each.origin for each in references],
        [each.media_id for each in references],
        [each.is_attached for each in references],
    )


async def take_redacted(
    tx: Transaction, event_nids: Collection[int], upto: int, limit: int
) -> list[RedactedCore]:
    """Take what some events said, and others whose redaction is at most at position `upto`.

    Their references are forgotten.
    """
    rows = await tx.fetch(
        """
        WITH taken AS (
            DELETE FROM media_redactions WHERE event_nid IN (
                SELECT d.event_nid FROM media_redactions d
                JOIN events e ON e.event_nid = d.event_nid
                LEFT JOIN events r ON r.event_nid = e.redacted_by_nid
                WHERE d.event_nid = ANY ($1::bigint[]) OR r.pos IS NULL OR r.pos <= $2
                ORDER BY d.event_nid LIMIT $3
            )
            RETURNING event_nid, sender, core
        ), forgotten AS (
            DELETE FROM media_references m USING taken t WHERE m.event_nid = t.event_nid
        )
        SELECT event_nid, sender, core FROM taken
        """,
        list(event_nids),
        upto,
        limit,
    )
    return [RedactedCore(*row) for row in rows]


async def remove_left_over(
    tx: Transaction, left_over: Sequence[LeftOver], own_name: str
) -> list[tuple[str, str]]:
    """Remove media that nothing else names, and return origin and ID of what was removed.

    Media of this server only if the redacted event was of who uploaded it: naming somebody's
    media in a message and redacting that must not remove it. Profiles, what the user keeps in
    account data (packs of images) and previews count as naming it.
    """
    rows = await tx.fetch(
        """
        DELETE FROM media m
        USING unnest($1::text[], $2::text[], $3::text[]) AS c (origin, media_id, sender)
        WHERE m.origin = c.origin AND m.media_id = c.media_id
          AND m.sha256 IS NOT NULL AND NOT m.is_protected AND m.quarantined_by IS NULL
          AND (m.uploader = c.sender OR m.origin <> $4)
          AND NOT EXISTS (
              SELECT 1 FROM media_references r
              WHERE r.origin = m.origin AND r.media_id = m.media_id
          )
          AND NOT EXISTS (
              SELECT 1 FROM profile_fields p WHERE p.name = 'avatar_url'
                AND p.value = convert_to(format('"mxc://%s/%s"', m.origin, m.media_id), 'UTF8')
          )
          AND NOT EXISTS (
              SELECT 1 FROM profile_fields p WHERE p.user_id = c.sender
                AND position(convert_to(m.media_id, 'UTF8') IN p.value) > 0
          )
          AND NOT EXISTS (
              SELECT 1 FROM account_data a WHERE a.user_id = c.sender
                AND position(convert_to(m.media_id, 'UTF8') IN a.content) > 0
          )
          AND NOT EXISTS (
              SELECT 1 FROM url_previews u WHERE u.image_id = m.media_id AND m.origin = $4
          )
        RETURNING m.origin, m.media_id
        """,
        [each.origin for each in left_over],
        [each.media_id for each in left_over],
        [each.sender for each in left_over],
        own_name,
    )
    return [(row["origin"], row["media_id"]) for row in rows]
