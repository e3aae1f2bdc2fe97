"""Account data: what users keep here for their clients, globally or about one room.

Spec: client-server-api/#client-config
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction

# Stands for "no room": numbers of rooms begin at 1.
GLOBAL: Final = 0
IGNORED_USER_LIST: Final = "m.ignored_user_list"


class AccountDataRow(NamedTuple):
    """One entry; the content of a deleted one is `{}`."""

    room_nid: int
    type: str
    content: bytes
    is_deleted: bool


class AccountDataUsage(NamedTuple):
    """How much a user keeps: entries, deleted ones too, and bytes of content."""

    entries: int
    content_bytes: int


async def lock(tx: Transaction, user_id: str) -> None:
    """Let nobody else read and then write account data of the user until the transaction ends.

    Before anything takes a position: whoever waits here must not hold the log.
    """
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('account_data ' || $1, 0))", user_id
    )


async def put(
    tx: Transaction,
    user_id: str,
    room_nid: int,
    event_type: str,
    content: bytes,
    *,
    is_deleted: bool = False,
) -> int:
    """Write an entry at a position of its own, which is returned; the last act of a transaction."""
    pos: int = await tx.fetchval(
        """
        WITH place AS (UPDATE log_head SET pos = pos + 1 RETURNING pos)
        INSERT INTO account_data (user_id, room_nid, type, content, is_deleted, pos)
        SELECT $1, $2, $3, $4, $5, place.pos FROM place
        ON CONFLICT (user_id, room_nid, type) DO UPDATE
        SET content = excluded.content, is_deleted = excluded.is_deleted, pos = excluded.pos
        RETURNING pos
        """,
        user_id,
        room_nid,
        event_type,
        content,
        is_deleted,
    )
    return pos


async def entry_of(
    connection: Connection, user_id: str, room_nid: int, event_type: str
) -> AccountDataRow | None:
    """Read an entry, deleted or not."""
    row = await connection.fetchrow(
        """
        SELECT room_nid, type, content, is_deleted FROM account_data
        WHERE user_id = $1 AND room_nid = $2 AND type = $3
        """,
        user_id,
        room_nid,
        event_type,
    )
    return AccountDataRow(*row) if row else None


async def usage_of(connection: Connection, user_id: str) -> AccountDataUsage:
    """Measure what a user keeps."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS entries, coalesce(sum(octet_length(content)), 0)::bigint AS content_bytes
        FROM account_data WHERE user_id = $1
        """,
        user_id,
    )
    assert row is not None
    return AccountDataUsage(row["entries"], row["content_bytes"])


async def of_rooms(
    connection: Connection, user_id: str, room_nids: Collection[int], *, deleted_after: int
) -> list[AccountDataRow]:
    """Read all entries about some rooms, or GLOBAL; those deleted before a position left out."""
    rows = await connection.fetch(
        """
        SELECT room_nid, type, content, is_deleted FROM account_data
        WHERE user_id = $1 AND room_nid = ANY ($2::bigint[]) AND (NOT is_deleted OR pos > $3)
        ORDER BY pos
        """,
        user_id,
        list(room_nids),
        deleted_after,
    )
    return [AccountDataRow(*row) for row in rows]


async def changed_after(connection: Connection, user_id: str, after: int) -> list[AccountDataRow]:
    """Read the user's entries that were written or deleted after a position."""
    rows = await connection.fetch(
        """
        SELECT room_nid, type, content, is_deleted FROM account_data
        WHERE user_id = $1 AND pos > $2 ORDER BY pos
        """,
        user_id,
        after,
    )
    return [AccountDataRow(*row) for row in rows]


async def ignored_user_lists(
    connection: Connection, user_ids: Collection[str]
) -> dict[UserID, bytes]:
    """Read the contents of the `m.ignored_user_list` of those of the users who have one."""
    rows = await connection.fetch(
        """
        SELECT user_id, content FROM account_data
        WHERE user_id = ANY ($1::text[]) AND room_nid = 0 AND type = 'm.ignored_user_list'
          AND NOT is_deleted
        """,
        list(user_ids),
    )
    return {UserID(row["user_id"]): row["content"] for row in rows}
