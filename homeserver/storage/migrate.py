"""Forward-only migrations: numbered SQL files, each applied once, in order, in a transaction.

A file is `NNNN_name.sql`, numbered from 0001 without gaps, and is never edited once it has
been released: its checksum is stored, and a node whose file differs refuses to start.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from homeserver.storage.database import Connection, Database, Transaction, UnsuitableDatabase

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# Any number that no other user of advisory locks in this database takes: "mxschema" in ASCII.
_LOCK: Final = 0x6D78736368656D61


class Migration(msgspec.Struct, frozen=True):
    """One file of SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the SQL, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


class MigrationFailed(Exception):
    """A migration's SQL was refused; nothing of that file was kept."""


def read_migrations(directory: Path = MIGRATIONS) -> list[Migration]:
    """Read the migrations of a folder, in order.

    Raises ValueError: a file name is not `NNNN_name.sql`, or a number is missing or double.
    """
    migrations = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is not named NNNN_name.sql")
        migrations.append(Migration(int(match[1]), match[2], path.read_text("utf-8")))
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"migrations must be numbered from 0001 without gaps, not {numbers}")
    return migrations


async def migrate(
    database: Database, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Bring the database's schema up to date and return the migrations that were applied.

    Safe while other nodes do the same. Raises UnsuitableDatabase when the schema is newer than
    this program, differs from it, or belongs to something else; MigrationFailed when SQL fails.
    """
    wanted = read_migrations() if migrations is None else migrations
    # Nearly every start: one look instead of a locked one for each migration.
    if await _is_up_to_date(database, wanted):
        return []
    async with database.dedicated() as connection:
        await _prepare(connection)
        applied = [one for one in wanted if await _apply(connection, one)]
        await _refuse_newer_schema(connection, wanted)
    return applied


async def _is_up_to_date(database: Database, wanted: Sequence[Migration]) -> bool:
    async with database.connection("migrations") as connection:
        if not await _has_schema_migrations(connection):
            return False
        rows = await connection.fetch(
            "SELECT number, checksum FROM schema_migrations ORDER BY number"
        )
    applied = [(row["number"], row["checksum"]) for row in rows]
    return applied == [(migration.number, migration.checksum) for migration in wanted]


async def _prepare(connection: Connection) -> None:
    async with connection.transaction():
        await _lock_schema(connection)
        if await connection.fetchval("SELECT current_schema()") is None:
            raise UnsuitableDatabase("no schema of the search_path exists in the database")
        if await _has_schema_migrations(connection):
            return
        await _refuse_foreign_tables(connection)
        await _drop_leftovers(connection)
        await _create_schema_migrations(connection)


async def _lock_schema(tx: Transaction) -> None:
    """Let one node at a time look at and change the schema, until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def _has_schema_migrations(connection: Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT to_regclass(quote_ident(current_schema()) || '.schema_migrations') IS NOT NULL"
        )
    )


async def _create_schema_migrations(tx: Transaction) -> None:
    try:
        await tx.execute(
            """
            CREATE TABLE schema_migrations (
                number integer PRIMARY KEY,
                name text NOT NULL,
                checksum text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnsuitableDatabase(f"the database user may not create tables: {error}") from error


async def _apply(connection: Connection, migration: Migration) -> bool:
    """Apply a migration unless it has been; each has a transaction and the lock to itself."""
    async with connection.transaction():
        await _lock_schema(connection)
        row = await connection.fetchrow(
            "SELECT name, checksum FROM schema_migrations WHERE number = $1", migration.number
        )
        if row is not None:
            _require_same(migration, name=row["name"], checksum=row["checksum"])
            return False
        await _run_sql(connection, migration)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
        return True


def _require_same(migration: Migration, *, name: str, checksum: str) -> None:
    if checksum != migration.checksum:
        raise UnsuitableDatabase(
            f"migration {migration} differs from {migration.number:04d}_{name}, which was applied"
            " to the database; a migration that was applied must never be edited"
        )


async def _run_sql(tx: Transaction, migration: Migration) -> None:
    try:
        await tx.execute(migration.sql)
    except asyncpg.PostgresError as error:
        place = ""
        if position := getattr(error, "position", None):
            line = migration.sql.count("\n", 0, int(position) - 1) + 1
            place = f", line {line}"
        raise MigrationFailed(f"migration {migration}{place}: {error}") from error


async def _refuse_newer_schema(connection: Connection, wanted: Sequence[Migration]) -> None:
    row = await connection.fetchrow(
        "SELECT number, name FROM schema_migrations WHERE number > $1 ORDER BY number LIMIT 1",
        len(wanted),
    )
    if row is not None:
        raise UnsuitableDatabase(
            f"the database is newer than this program, which does not know migration"
            f" {row['number']:04d}_{row['name']}"
        )


async def _refuse_foreign_tables(connection: Connection) -> None:
    table = await connection.fetchval(
        """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
          AND c.relkind IN ('r', 'p', 'f')
          AND NOT EXISTS (
              SELECT FROM pg_depend d
              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY c.relname LIMIT 1
        """
    )
    if table is not None:
        raise UnsuitableDatabase(
            f"the database has a table {table!r} but no table 'schema_migrations': it is in use"
            " by something else; give this server a database of its own"
        )


async def _drop_leftovers(tx: Transaction) -> None:
    """Drop what remains of us in a schema whose tables were dropped: they would be in the way.

    Touches only what our own database user owns and no extension brought.
    """
    leftovers = await tx.fetch(
        """
        WITH objects AS (
            SELECT 'pg_class'::regclass AS catalog, oid, 1 AS rank, relowner AS owner,
                   relnamespace AS namespace,
                   CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                WHEN 'S' THEN 'SEQUENCE' ELSE 'TYPE' END AS kind,
                   oid::regclass::text AS identity
            FROM pg_class WHERE relkind IN ('v', 'm', 'S', 'c')
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, 2, proowner, pronamespace, 'ROUTINE',
                   oid::regprocedure::text
            FROM pg_proc
            UNION ALL
            SELECT 'pg_type'::regclass, oid, 3, typowner, typnamespace, 'TYPE',
                   oid::regtype::text
            FROM pg_type WHERE typtype IN ('d', 'e', 'r')
        )
        SELECT kind, identity FROM objects
        WHERE namespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
          AND owner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
          AND NOT EXISTS (
              SELECT FROM pg_depend d
              WHERE d.classid = objects.catalog AND d.objid = objects.oid AND d.deptype = 'e')
        ORDER BY rank, oid
        """
    )
    for leftover in leftovers:
        # IF EXISTS: it may have gone with an earlier one. The identity is quoted by PostgreSQL.
        await tx.execute(f"DROP {leftover['kind']} IF EXISTS {leftover['identity']} CASCADE")
