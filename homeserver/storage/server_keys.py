"""The keys of other servers, with the documents that they come from."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.storage.database import Connection


class ServerKeyRow(NamedTuple):
    """A key of a server; times in milliseconds since 1970, the document as JSON."""

    server_name: ServerName
    key_id: KeyID
    verify_key: str
    valid_until_ts: int
    expired_ts: int | None
    fetched_ts: int
    document: bytes


class KnownKey(NamedTuple):
    """A key without its document."""

    server_name: ServerName
    key_id: KeyID
    verify_key: str
    valid_until_ts: int
    expired_ts: int | None


class KnownDocument(NamedTuple):
    """A document, and the best that is known of the validity of the keys in it."""

    server_name: ServerName
    key_ids: Sequence[KeyID]
    valid_until_ts: int
    fetched_ts: int
    document: bytes


async def read(connection: Connection, server_names: Sequence[ServerName]) -> list[KnownKey]:
    """Return all keys of some servers."""
    rows = await connection.fetch(
        """
        SELECT server_name, key_id, verify_key, valid_until_ts, expired_ts
        FROM server_keys WHERE server_name = ANY($1::text[])
        """,
        server_names,
    )
    return [KnownKey(*row) for row in rows]


async def documents(
    connection: Connection, server_names: Sequence[ServerName]
) -> list[KnownDocument]:
    """Return the documents of some servers, the newest first."""
    rows = await connection.fetch(
        """
        SELECT server_name, array_agg(key_id), max(valid_until_ts), max(fetched_ts), document
        FROM server_keys WHERE server_name = ANY($1::text[])
        GROUP BY server_name, document ORDER BY max(fetched_ts) DESC
        """,
        server_names,
    )
    return [KnownDocument(*row) for row in rows]


async def upsert(connection: Connection, rows: Sequence[ServerKeyRow], *, replaces: bool) -> None:
    """Keep what documents say of their keys, unless a later one is kept already.

    `replaces`: the server itself has said so, and may change the key and shorten its validity.
    Otherwise the same key may become valid for longer, no more.
    """
    await connection.executemany(
        """
        INSERT INTO server_keys AS known (server_name, key_id, verify_key, valid_until_ts,
                                          expired_ts, fetched_ts, document)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (server_name, key_id) DO UPDATE
        SET verify_key = excluded.verify_key, valid_until_ts = excluded.valid_until_ts,
            expired_ts = excluded.expired_ts, fetched_ts = excluded.fetched_ts,
            document = excluded.document
        WHERE known.fetched_ts <= excluded.fetched_ts
          AND ($8 OR (known.verify_key = excluded.verify_key
                      AND known.valid_until_ts < excluded.valid_until_ts))
        """,
        # In one order, so that two nodes with the same keys do not wait for each other.
        [(*row, replaces) for row in sorted(rows, key=lambda row: row[:2])],
    )


async def forget_surplus(
    connection: Connection, server_names: Sequence[ServerName], limit: int
) -> None:
    """Delete keys of servers that have more than `limit`: those that are told of no more."""
    await connection.execute(
        """
        DELETE FROM server_keys k
        USING (SELECT server_name, key_id,
                      row_number() OVER (PARTITION BY server_name
                                         ORDER BY fetched_ts DESC, key_id) AS place
               FROM server_keys WHERE server_name = ANY($1::text[])) AS ranked
        WHERE ranked.place > $2
          AND k.server_name = ranked.server_name AND k.key_id = ranked.key_id
        """,
        server_names,
        limit,
    )
