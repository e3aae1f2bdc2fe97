"""The connection pool against a real PostgreSQL."""

import asyncio
from typing import Any

import asyncpg
import pytest

from homeserver.config.sections.database import DatabaseSection
from homeserver.storage.database import (
    Database,
    DatabaseUnavailable,
    Transaction,
    UnsuitableDatabase,
)
from homeserver.telemetry.clock import SystemClock
from tests.support.clock import FakeClock
from tests.support.postgres import TestCluster


class Observed:
    def __init__(self) -> None:
        self.operations: list[str] = []
        self.waits: list[float] = []

    def connection_waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def operation_ended(self, operation: str, seconds: float) -> None:
        assert seconds >= 0
        self.operations.append(operation)


@pytest.fixture
async def notes(empty_database_dsn: str) -> Any:
    async with Database(empty_database_dsn, clock=SystemClock()) as database:
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE notes (id integer PRIMARY KEY, text text)")
        yield database


async def count(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM notes"))


async def add(tx: Transaction, note_id: int) -> None:
    await tx.execute("INSERT INTO notes (id, text) VALUES ($1, 'a')", note_id)


async def test_transaction_commits_at_its_end(notes: Database) -> None:
    async with notes.transaction() as tx:
        await add(tx, 1)
    assert await count(notes) == 1


async def test_transaction_is_rolled_back_by_an_exception(notes: Database) -> None:
    async def fail() -> None:
        async with notes.transaction() as tx:
            await add(tx, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(notes) == 0


async def test_transaction_of_a_canceled_task_is_rolled_back(notes: Database) -> None:
    has_written = asyncio.Event()

    async def write_and_wait() -> None:
        async with notes.transaction() as tx:
            await add(tx, 1)
            has_written.set()
            await tx.execute("SELECT pg_sleep(60)")

    task = asyncio.get_running_loop().create_task(write_and_wait())
    await has_written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(notes) == 0


async def test_statements_outside_of_a_transaction_commit_one_by_one(notes: Database) -> None:
    async def fail() -> None:
        async with notes.connection() as connection:
            await add(connection, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(notes) == 1


async def test_readonly_transaction_cannot_write(notes: Database) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with notes.transaction(readonly=True) as tx:
            await add(tx, 1)


async def test_work_runs_again_after_a_serialization_failure(notes: Database) -> None:
    attempts = 0

    async def work(tx: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        seen = int(await tx.fetchval("SELECT count(*) FROM notes"))
        if attempts == 1:
            # Another transaction commits between our read and our write.
            async with notes.transaction(isolation="serializable") as other:
                await other.fetchval("SELECT count(*) FROM notes")
                await add(other, 100)
        await add(tx, seen)
        return seen

    assert await notes.run_transaction(work, isolation="serializable") == 1
    assert attempts == 2


async def test_deadlocked_work_runs_again(notes: Database) -> None:
    async with notes.transaction() as tx:
        await tx.execute("INSERT INTO notes VALUES (1, 'a'), (2, 'b')")
        await tx.execute("SET deadlock_timeout = '10ms'")
    both_hold_one = asyncio.Barrier(2)
    attempts = 0

    def update(first: int, second: int) -> Any:
        async def work(tx: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            await tx.execute("SET LOCAL deadlock_timeout = '10ms'")
            await tx.execute("UPDATE notes SET text = text || '.' WHERE id = $1", first)
            if attempts <= 2:
                await both_hold_one.wait()
            await tx.execute("UPDATE notes SET text = text || '.' WHERE id = $1", second)

        return work

    await asyncio.gather(notes.run_transaction(update(1, 2)), notes.run_transaction(update(2, 1)))
    assert attempts == 3
    async with notes.connection() as connection:
        texts = [row["text"] for row in await connection.fetch("SELECT text FROM notes")]
    assert sorted(texts) == ["a..", "b.."]


async def test_work_that_never_succeeds_is_given_up(notes: Database) -> None:
    attempts = 0

    async def work(_tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        raise asyncpg.SerializationError("could not serialize access")

    with pytest.raises(asyncpg.SerializationError):
        await notes.run_transaction(work)
    assert attempts == 5


async def test_other_errors_are_not_tried_again(notes: Database) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await notes.run_transaction(work)
    assert attempts == 1


async def test_slow_statement_is_ended(empty_database_dsn: str) -> None:
    settings = DatabaseSection(statement_timeout_ms=50)
    async with Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database:
        with pytest.raises(asyncpg.QueryCanceledError):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(60)")


async def test_wait_for_a_lock_is_ended(empty_database_dsn: str) -> None:
    settings = DatabaseSection(lock_timeout_ms=50)
    async with (
        Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database,
        database.transaction() as holder,
        database.connection() as waiter,
    ):
        await holder.execute("SELECT pg_advisory_xact_lock(1)")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await waiter.execute("SELECT pg_advisory_xact_lock(1)")


async def test_no_free_connection_is_unavailable(empty_database_dsn: str) -> None:
    settings = DatabaseSection(min_connections=1, max_connections=1, acquire_timeout_ms=50)
    async with (
        Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database,
        database.connection(),
    ):
        with pytest.raises(DatabaseUnavailable):
            async with database.connection():
                pass


async def test_waiting_users_get_the_connection_in_turn(empty_database_dsn: str) -> None:
    settings = DatabaseSection(min_connections=2, max_connections=2)
    served: list[int] = []
    async with Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database:

        async def use(number: int) -> int:
            async with database.connection() as connection:
                served.append(number)
                return int(await connection.fetchval("SELECT pg_backend_pid()"))

        backends = await asyncio.gather(*(use(number) for number in range(20)))
    assert served == list(range(20))
    assert len(set(backends)) == 2


async def test_canceled_waiter_does_not_take_a_connection_away(empty_database_dsn: str) -> None:
    settings = DatabaseSection(min_connections=1, max_connections=1)
    async with Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database:

        async def use() -> None:
            async with database.connection():
                pass

        async with database.connection():
            first = asyncio.get_running_loop().create_task(use())
            second = asyncio.get_running_loop().create_task(use())
            await asyncio.sleep(0)
        # The first has been handed the connection but has not run since.
        first.cancel()
        await second
        await use()
        assert first.cancelled()


async def test_killed_connection_is_unavailable_and_replaced(notes: Database) -> None:
    async def be_killed() -> None:
        async with notes.connection() as victim, notes.connection() as killer:
            pid = await victim.fetchval("SELECT pg_backend_pid()")
            await killer.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await victim.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await be_killed()
    assert await count(notes) == 0


async def test_error_of_the_caller_passes_unchanged(notes: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with notes.connection():
            raise FileNotFoundError


async def test_statements_stay_prepared_between_uses(empty_database_dsn: str) -> None:
    settings = DatabaseSection(min_connections=1, max_connections=1)
    query = "SELECT $1::integer + 1"
    async with Database(empty_database_dsn, clock=SystemClock(), settings=settings) as database:
        for number in range(3):
            async with database.connection() as connection:
                assert await connection.fetchval(query, number) == number + 1
        async with database.connection() as connection:
            prepared = await connection.fetchval(
                "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", query
            )
    assert prepared == 1


async def test_observer_learns_of_every_use_by_name(empty_database_dsn: str) -> None:
    seen = Observed()
    async with Database(empty_database_dsn, clock=SystemClock(), observer=seen) as database:
        async with database.connection("read notes"):
            pass
        async with database.transaction("write notes"):
            pass
    assert seen.operations == ["read notes", "write notes"]
    assert len(seen.waits) == 2


async def test_server_that_is_down_is_unavailable_after_the_wait(clock: FakeClock) -> None:
    settings = DatabaseSection(startup_wait_ms=1000)
    database = Database("postgresql:///x?host=/nonexistent", clock=clock, settings=settings)
    opening = asyncio.get_running_loop().create_task(database.open())
    await clock.sleeping()
    assert not opening.done()
    for _ in range(8):
        await clock.advance(0.25)
    with pytest.raises(DatabaseUnavailable):
        await opening


async def test_wrong_database_name_is_reported_at_once(postgres: TestCluster) -> None:
    with pytest.raises(DatabaseUnavailable, match="missing"):
        await Database(postgres.dsn_of("missing"), clock=FakeClock()).open()


async def test_database_that_is_not_in_utf8_is_refused(postgres: TestCluster) -> None:
    name = "test_latin1"
    postgres.create(f"{name} ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'")
    try:
        with pytest.raises(UnsuitableDatabase, match="LATIN1"):
            await Database(postgres.dsn_of(name), clock=SystemClock()).open()
    finally:
        postgres.drop(name)


async def test_dedicated_connection_keeps_its_session(notes: Database) -> None:
    async with notes.dedicated() as connection:
        await connection.execute("SELECT pg_advisory_lock(7)")
        async with notes.connection() as other:
            assert not await other.fetchval("SELECT pg_try_advisory_lock(7)")
    async with notes.connection() as other:
        assert await other.fetchval("SELECT pg_try_advisory_lock(7)")


async def test_closed_database_is_unavailable(empty_database_dsn: str) -> None:
    database = Database(empty_database_dsn, clock=SystemClock())
    with pytest.raises(DatabaseUnavailable):
        async with database.connection():
            pass
    await database.open()
    await database.close()
    with pytest.raises(DatabaseUnavailable):
        async with database.connection():
            pass
