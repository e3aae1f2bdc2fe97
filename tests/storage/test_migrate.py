"""Migrations against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database, UnsuitableDatabase
from homeserver.storage.migrate import Migration, MigrationFailed, migrate, read_migrations
from homeserver.telemetry.clock import SystemClock

SCHEMA_LOCK = 0x6D78736368656D61
FIRST = Migration(
    1,
    "first",
    """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE DOMAIN short_text AS text CHECK (length(VALUE) < 100);
    CREATE TYPE pair AS (a integer, b mood);
    CREATE SEQUENCE numbers;
    CREATE TABLE people (id integer PRIMARY KEY, mood mood NOT NULL, name short_text);
    CREATE FUNCTION cheer(p pair) RETURNS mood LANGUAGE sql AS $$ SELECT 'good'::mood $$;
    CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
    CREATE VIEW happy AS SELECT 1 AS id;
    CREATE PROCEDURE rest() LANGUAGE sql AS $$ SELECT 1 $$;
    """,
)
SECOND = Migration(2, "second", "ALTER TABLE people ADD COLUMN age integer")
THIRD = Migration(3, "third", "CREATE TABLE pets (id integer PRIMARY KEY)")


@pytest.fixture
async def empty(empty_database_dsn: str) -> AsyncIterator[Database]:
    async with Database(empty_database_dsn, clock=SystemClock()) as database:
        yield database


async def execute(database: Database, *statements: str) -> None:
    async with database.connection() as connection:
        for statement in statements:
            await connection.execute(statement)


async def tables(database: Database) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
    return {row["tablename"] for row in rows}


async def test_migrations_are_applied_in_order_and_once(empty: Database) -> None:
    assert await migrate(empty, [FIRST, SECOND]) == [FIRST, SECOND]
    assert await migrate(empty, [FIRST, SECOND]) == []
    assert await tables(empty) == {"schema_migrations", "people"}


async def test_only_new_migrations_are_applied(empty: Database) -> None:
    await migrate(empty, [FIRST])
    assert await migrate(empty, [FIRST, SECOND, THIRD]) == [SECOND, THIRD]


async def test_schema_that_is_up_to_date_is_not_locked(empty: Database) -> None:
    await migrate(empty, [FIRST, SECOND])
    async with empty.transaction() as tx:
        # As another node does that migrates at this moment.
        await tx.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        async with asyncio.timeout(60):
            assert await migrate(empty, [FIRST, SECOND]) == []


async def test_nodes_that_start_together_apply_each_migration_once(
    empty: Database,
) -> None:
    all_of_them = [FIRST, SECOND, THIRD]
    applied = await asyncio.gather(*(migrate(empty, all_of_them) for _ in range(5)))
    together = [migration.number for one in applied for migration in one]
    assert sorted(together) == [1, 2, 3]


async def test_failed_migration_leaves_nothing_and_names_its_line(empty: Database) -> None:
    broken = Migration(2, "broken", "CREATE TABLE pets (id integer);\nCREATE TABEL typo ()")
    with pytest.raises(MigrationFailed, match="0002_broken, line 2"):
        await migrate(empty, [FIRST, broken])
    assert await tables(empty) == {"schema_migrations", "people"}
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]


async def test_edited_migration_is_refused(empty: Database) -> None:
    await migrate(empty, [FIRST])
    edited = Migration(1, "first", FIRST.sql + " ")
    with pytest.raises(UnsuitableDatabase, match="0001_first"):
        await migrate(empty, [edited, SECOND])
    assert await migrate(empty, [FIRST]) == []


async def test_database_of_a_newer_program_is_refused(empty: Database) -> None:
    await migrate(empty, [FIRST, SECOND, THIRD])
    with pytest.raises(UnsuitableDatabase, match="0002_second"):
        await migrate(empty, [FIRST])


async def test_database_of_something_else_is_refused_untouched(empty: Database) -> None:
    await execute(empty, "CREATE TABLE theirs (id integer)", "CREATE TYPE mood AS ENUM ('x')")
    with pytest.raises(UnsuitableDatabase, match="theirs"):
        await migrate(empty, [FIRST])
    assert await tables(empty) == {"theirs"}


async def test_functions_and_types_left_in_an_emptied_schema_are_no_obstacle(
    empty: Database,
) -> None:
    await migrate(empty, [FIRST, SECOND])
    await execute(empty, "DROP TABLE people CASCADE", "DROP TABLE schema_migrations CASCADE")
    assert await migrate(empty, [FIRST, SECOND]) == [FIRST, SECOND]


async def test_our_own_migrations_survive_an_emptied_schema(database: Database) -> None:
    for table in await tables(database):
        await execute(database, f'DROP TABLE "{table}" CASCADE')
    assert await migrate(database) == read_migrations()


async def test_leftovers_of_extensions_stay(empty: Database) -> None:
    await execute(empty, "CREATE EXTENSION IF NOT EXISTS plpgsql")
    async with empty.connection() as connection:
        available = await connection.fetchval(
            "SELECT name FROM pg_available_extensions WHERE installed_version IS NULL"
            " AND name IN ('pg_trgm', 'citext', 'pgcrypto', 'vector') LIMIT 1"
        )
    if available is None:
        pytest.skip("this PostgreSQL has no extension to try")
    await execute(empty, f"CREATE EXTENSION {available}")
    await migrate(empty, [FIRST])
    async with empty.connection() as connection:
        functions = await connection.fetchval(
            "SELECT count(*) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid"
            " WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND e.extname = $1",
            available,
        )
    assert functions > 0


async def test_migrations_work_in_a_schema_with_an_awkward_name(
    empty_database_dsn: str, empty: Database
) -> None:
    await execute(empty, 'CREATE SCHEMA "My-Schema"')
    dsn = f"{empty_database_dsn}&search_path=%22My-Schema%22"
    async with Database(dsn, clock=SystemClock()) as database:
        await migrate(database, [FIRST])
        await execute(database, "DROP TABLE people CASCADE", "DROP TABLE schema_migrations CASCADE")
        assert await migrate(database, [FIRST]) == [FIRST]
    assert await tables(empty) == set()


def test_migration_files_must_be_named_and_numbered(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    assert [str(each) for each in read_migrations(tmp_path)] == ["0001_first"]
    (tmp_path / "0003_third.sql").write_text("SELECT 3")
    with pytest.raises(ValueError, match="without gaps"):
        read_migrations(tmp_path)
    (tmp_path / "0002-second.sql").write_text("SELECT 2")
    with pytest.raises(ValueError, match="0002-second"):
        read_migrations(tmp_path)
