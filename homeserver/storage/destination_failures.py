"""Servers that have failed since they last answered, and when they may be tried again."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import ServerName
from homeserver.storage.database import Connection


class FailureRow(NamedTuple):
    """A failing server; times in milliseconds since 1970."""

    server_name: ServerName
    failures: int
    failing_since_ts: int
    failed_ts: int
    retry_ts: int


async def read(connection: Connection, server_names: Sequence[ServerName]) -> list[FailureRow]:
    """Return those of the servers that are failing."""
    rows = await connection.fetch(
        """
        SELECT server_name, failures, failing_since_ts, failed_ts, retry_ts
        FROM destination_failures WHERE server_name = ANY($1::text[])
        """,
        server_names,
    )
    return [FailureRow(*row) for row in rows]


async def upsert(connection: Connection, row: FailureRow) -> None:
    """Record a failure, unless another node has recorded a later one."""
    await connection.execute(
        """
        INSERT INTO destination_failures AS known
            (server_name, failures, failing_since_ts, failed_ts, retry_ts)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (server_name) DO UPDATE
        SET failures = excluded.failures, failing_since_ts = excluded.failing_since_ts,
            failed_ts = excluded.failed_ts, retry_ts = excluded.retry_ts
        WHERE known.failed_ts <= excluded.failed_ts
        """,
        *row,
    )


async def set_retry(connection: Connection, server_name: ServerName, retry_ts: int) -> None:
    """Let a failing server be tried at another time."""
    await connection.execute(
        "UPDATE destination_failures SET retry_ts = $2 WHERE server_name = $1",
        server_name,
        retry_ts,
    )


async def delete(connection: Connection, server_name: ServerName) -> None:
    """Forget the failures of a server: it answers."""
    await connection.execute("DELETE FROM destination_failures WHERE server_name = $1", server_name)
