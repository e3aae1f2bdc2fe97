"""Section `database`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from homeserver.config.values import Secret, Section, about


class DatabaseSection(Section, frozen=True, kw_only=True):
    """PostgreSQL. Without a DSN the server brings and runs one of its own."""

    dsn: Annotated[
        Secret | None,
        about(
            "Address of a PostgreSQL 15 or newer, such as"
            " postgresql://user:password@host:5432/name. Its encoding must be UTF8. Absent:"
            " the embedded PostgreSQL, in the data folder."
        ),
    ] = None
    dsn_file: Annotated[Path | None, about("File that holds the DSN instead.")] = None
    min_connections: Annotated[int, about("Connections kept open by a process.", ge=1)] = 2
    max_connections: Annotated[int, about("Most connections of a process.", ge=1)] = 10
    connect_timeout_ms: Annotated[int, about("For making a connection.", ge=1)] = 10_000
    acquire_timeout_ms: Annotated[
        int, about("How long a request waits for a free connection before it fails.", ge=1)
    ] = 10_000
    statement_timeout_ms: Annotated[int, about("For one statement.", ge=1)] = 60_000
    lock_timeout_ms: Annotated[int, about("For one lock.", ge=1)] = 20_000
    idle_in_transaction_timeout_ms: Annotated[
        int, about("For a transaction that does nothing.", ge=1)
    ] = 60_000
    startup_wait_ms: Annotated[
        int, about("How long a start waits for a PostgreSQL that is not up yet.", ge=0)
    ] = 30_000
    embedded_user: Annotated[
        str,
        about(
            "Whom the embedded PostgreSQL runs as when the server is started by root, which"
            " PostgreSQL refuses. Counts when the database is made."
        ),
    ] = "nobody"
    embedded_settings: Annotated[
        Mapping[str, str],
        about(
            "Settings of the embedded PostgreSQL that go over ours, by their names in"
            " postgresql.conf, such as {shared_buffers: 1GB}."
        ),
    ] = msgspec.field(default_factory=dict)
