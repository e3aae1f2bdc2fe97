"""One PostgreSQL for the whole test run, and a database of its own for every test."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import Migration, migrate, read_migrations
from homeserver.telemetry.clock import SystemClock
from tests.support.apart import run_apart

# The tests' data may die with the machine; tests of crashes make clusters of their own.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
}
_TEMPLATE_LOCK = 0x74656D706C617465


class TestCluster:
    """The cluster, shared by all workers of pytest-xdist; the last one stops it."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        self._postgres = EmbeddedPostgres(directory, settings=_FAST)
        self._postgres.start()

    def close(self) -> None:
        self._postgres.stop()

    def dsn_of(self, database: str) -> str:
        return self._postgres.dsn.replace("/postgres?", f"/{database}?")

    def ensure_template(self) -> str:
        """Return the name of a database with all migrations, made once for each set of them."""
        return run_apart(self._ensure_template(read_migrations()))

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database and return its DSN."""
        run_apart(self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
        return self.dsn_of(name)

    def drop(self, name: str) -> None:
        run_apart(self._execute(f"DROP DATABASE IF EXISTS {name} (FORCE)"))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._postgres.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def _ensure_template(self, migrations: Sequence[Migration]) -> str:
        all_checksums = "".join(migration.checksum for migration in migrations)
        name = f"template_{hashlib.sha256(all_checksums.encode()).hexdigest()[:16]}"
        connection = await asyncpg.connect(self._postgres.dsn)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
            query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
            if not await connection.fetchval(query, name):
                await self._make_template(connection, name, migrations)
        finally:
            await connection.close()
        return name

    async def _make_template(
        self, connection: asyncpg.Connection, name: str, migrations: Sequence[Migration]
    ) -> None:
        draft = f"{name}_draft"
        await connection.execute(f"DROP DATABASE IF EXISTS {draft} (FORCE)")
        await connection.execute(f"CREATE DATABASE {draft}")
        async with Database(self.dsn_of(draft), clock=SystemClock()) as database:
            await migrate(database, migrations)
        await connection.execute(f"ALTER DATABASE {draft} RENAME TO {name}")


def remove_cluster(directory: Path) -> None:
    """Stop what a killed worker may have left running, and remove all files."""
    postgres = EmbeddedPostgres(directory)
    if postgres.pid is not None:
        postgres.start()
        postgres.stop()
    shutil.rmtree(directory, ignore_errors=True)
