"""The user directory: names, the words to find them by, and who may find whom."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction

# The users who have words that begin like each of the words $1, best first.
_RANKED: Final = """
    WITH hits AS (
        -- One bit for each of the words: found at all, found in the user ID, found whole.
        SELECT w.user_id, bit_or(1 << t.ord) AS found,
               bit_or(CASE WHEN w.is_name THEN 0 ELSE 1 << t.ord END) AS found_in_id,
               bit_or(CASE WHEN w.word = t.word THEN 1 << t.ord ELSE 0 END) AS exact
        FROM (
            SELECT u.word, u.ord::integer AS ord
            FROM unnest($1::text[]) WITH ORDINALITY AS u (word, ord)
        ) t
        -- No character sorts behind U+10FFFF.
        JOIN user_directory_words w
          ON w.word >= t.word COLLATE "C" AND w.word < (t.word || chr(1114111)) COLLATE "C"
        GROUP BY w.user_id
    ), ranked AS (
        SELECT d.user_id, d.display_name, d.avatar_url, d.name_room_nid,
               h.found_in_id = every.word AS is_found_by_id,
               bit_count(h.exact::bit(32)) AS exact,
               d.display_name IS NULL AND d.avatar_url IS NULL AS is_bare
        FROM hits h
        JOIN user_directory d ON d.user_id = h.user_id
        CROSS JOIN (SELECT (2 << cardinality($1::text[])) - 2 AS word) every
        WHERE h.found = every.word
        ORDER BY exact DESC, is_bare, d.user_id
    )
"""


class DirectoryName(NamedTuple):
    """What is known of a user, with the words to find it by.

    `room_nid` and `event_nid` are where the name was told; None: it is the profile's.
    """

    user_id: UserID
    display_name: str | None
    avatar_url: str | None
    id_words: Collection[str]
    name_words: Collection[str]
    room_nid: int | None = None
    event_nid: int | None = None


class FoundUser(NamedTuple):
    """A user as the searching user may see it."""

    user_id: UserID
    display_name: str | None
    avatar_url: str | None


async def put_names(tx: Transaction, names: Sequence[DirectoryName]) -> None:
    """Write what is known of users, each once, and the words to find them by.

    What an open room tells of a user is not replaced by what a closed one tells.
    """
    # Two that write the same users lock them in the same order.
    names = sorted(names, key=lambda name: name.user_id)
    rows = await tx.fetch(
        """
        INSERT INTO user_directory AS d
            (user_id, display_name, avatar_url, name_room_nid, name_event_nid)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
        ON CONFLICT (user_id) DO UPDATE
        SET display_name = excluded.display_name, avatar_url = excluded.avatar_url,
            name_room_nid = excluded.name_room_nid, name_event_nid = excluded.name_event_nid
        WHERE excluded.name_room_nid IS NULL
           OR excluded.name_room_nid = d.name_room_nid
           OR EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = excluded.name_room_nid)
           OR NOT EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = d.name_room_nid)
        RETURNING user_id
        """,
        [name.user_id for name in names],
        [name.display_name for name in names],
        [name.avatar_url for name in names],
        [name.room_nid for name in names],
        [name.event_nid for name in names],
    )
    written = {row["user_id"] for row in rows}
    words = [
        (word, name.user_id, is_name)
        for name in names
        if name.user_id in written
        for is_name, some in ((False, name.id_words), (True, name.name_words))
        for word in some
    ]
    await tx.execute(
        "DELETE FROM user_directory_words WHERE user_id = ANY ($1::text[])", list(written)
    )
    await tx.execute(
        """
        INSERT INTO user_directory_words (word, user_id, is_name)
        SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[])
        ON CONFLICT DO NOTHING
        """,
        [word for word, _, _ in words],
        [user_id for _, user_id, _ in words],
        [is_name for _, _, is_name in words],
    )


async def forget_names(tx: Transaction, event_nids: Collection[int]) -> None:
    """Forget names that events told which have been redacted."""
    rows = await tx.fetch(
        """
        UPDATE user_directory SET display_name = NULL, avatar_url = NULL
        WHERE name_event_nid = ANY ($1::bigint[]) RETURNING user_id
        """,
        list(event_nids),
    )
    await tx.execute(
        "DELETE FROM user_directory_words WHERE user_id = ANY ($1::text[]) AND is_name",
        [row["user_id"] for row in rows],
    )


async def set_open_rooms(tx: Transaction, opened: Collection[int], closed: Collection[int]) -> None:
    """Note which rooms anybody may join or read, and which not."""
    await tx.execute("DELETE FROM open_rooms WHERE room_nid = ANY ($1::bigint[])", list(closed))
    await tx.execute(
        """
        INSERT INTO open_rooms (room_nid) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING
        """,
        list(opened),
    )


async def open_among(connection: Connection, room_nids: Collection[int]) -> frozenset[int]:
    """Return those of some rooms that anybody may join or read."""
    rows = await connection.fetch(
        "SELECT room_nid FROM open_rooms WHERE room_nid = ANY ($1::bigint[])", list(room_nids)
    )
    return frozenset(row["room_nid"] for row in rows)


async def accounts_not_listed(connection: Connection, limit: int) -> list[UserID]:
    """List accounts of this server that the directory does not know yet, guests left out."""
    rows = await connection.fetch(
        """
        SELECT u.user_id FROM users u
        WHERE NOT u.is_guest AND u.deactivated_ts IS NULL
          AND NOT EXISTS (SELECT 1 FROM user_directory d WHERE d.user_id = u.user_id)
        LIMIT $1
        """,
        limit,
    )
    return [UserID(row["user_id"]) for row in rows]


async def search(
    connection: Connection,
    words: Sequence[str],
    room_nids: Collection[int],
    limit: int,
    *,
    all_accounts: bool,
) -> list[FoundUser]:
    """Find the users who have words that begin like each of the given ones, best first.

    `room_nids` are the rooms of who searches: found are users joined in one of them or in an open
    room, with `all_accounts` those of this server too; never locked or deactivated ones.
    """
    rows = await connection.fetch(
        f"""
        {_RANKED}
        SELECT r.user_id, CASE WHEN n.is_shown THEN r.display_name END AS display_name,
               CASE WHEN n.is_shown THEN r.avatar_url END AS avatar_url
        FROM ranked r
        CROSS JOIN LATERAL (
            SELECT r.name_room_nid IS NULL OR r.name_room_nid = ANY ($2::bigint[])
                OR EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = r.name_room_nid)
                AS is_shown
        ) n
        WHERE (r.is_found_by_id OR n.is_shown)
          AND NOT EXISTS (
            SELECT 1 FROM users u
            WHERE u.user_id = r.user_id AND (u.deactivated_ts IS NOT NULL OR u.is_locked)
          )
          AND (
            ($4 AND EXISTS (SELECT 1 FROM users u WHERE u.user_id = r.user_id))
            OR EXISTS (
                SELECT 1 FROM memberships m
                WHERE m.user_id = r.user_id AND m.membership = 'join' AND (
                    m.room_nid = ANY ($2::bigint[])
                    OR EXISTS (SELECT 1 FROM open_rooms o WHERE o.room_nid = m.room_nid)
                )
            )
          )
        -- Sorted already: who may be found is looked up until there are enough.
        ORDER BY r.exact DESC, r.is_bare, r.user_id
        LIMIT $3
        """,
        list(words),
        list(room_nids),
        limit,
        all_accounts,
    )
    return [FoundUser(*row) for row in rows]
