"""One PostgreSQL for the whole test run, and a database of its own for every test."""

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
import time
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
    "max_wal_size": "1GB",
}
_FOLDER_PREFIX = "homeserver-tests-"
# Making a database is making six hundred files, which costs a disk three times as much.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 1024**3
# Older folders that nobody uses are of runs that were killed.
_REMAINS_SECONDS = 3600
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


def new_cluster_folder() -> Path:
    """Make the folder of a run's cluster, in memory where the system has room for it."""
    parent = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
            _remove_remains(_MEMORY)
            parent = _MEMORY
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent))
    folder.chmod(0o755)  # started as root, PostgreSQL runs as another user
    return folder


def _remove_remains(parent: Path) -> None:
    for folder in parent.glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _REMAINS_SECONDS and not _is_used(folder):
                remove_cluster(folder)


def _is_used(folder: Path) -> bool:
    try:
        with (folder / "in-use.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def remove_cluster(directory: Path) -> None:
    """Stop what a killed worker may have left running, and remove all files."""
    postgres = EmbeddedPostgres(directory)
    if postgres.pid is not None:
        postgres.start()
        postgres.stop()
    shutil.rmtree(directory, ignore_errors=True)
