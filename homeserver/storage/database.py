"""The connection pool: where every statement of the server passes.

Values travel as text, integers and bytes; JSON is encoded and decoded by who owns it, so no
JSON codec is installed. Session state (SET, LISTEN, session advisory locks, cursors kept
open) does not survive or get cleaned when a connection goes back: use `SET LOCAL` and
transaction-level locks, or hold the connection for as long as the state is needed.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import asyncpg

from homeserver.config.sections.database import DatabaseSection
from homeserver.storage.connection_pool import ConnectionPool, PoolClosed
from homeserver.telemetry.clock import Clock

Isolation: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]
T = TypeVar("T")

MINIMUM_SERVER_VERSION: Final = 15  # the oldest that the test suite has run on
_TRANSACTION_ATTEMPTS: Final = 5
_FIRST_RETRY_SECONDS: Final = 0.005
_RECONNECT_SECONDS: Final = 0.25
_CLOSE_SECONDS: Final = 5

# What asyncpg raises when the server is away, going away, or not there yet.
_SERVER_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    # An idle connection that has been told good-bye and is used before it closes.
    asyncpg.InternalClientError,
)
_NEVER_BY_WAITING: Final = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class Record(Protocol):
    """One row, by column name or position."""

    def __getitem__(self, key: str | int) -> Any: ...

    def __iter__(self) -> Any: ...

    def __len__(self) -> int: ...


class Connection(Protocol):
    """What storage functions may ask of a connection; parameters are `$1`, `$2`, …"""

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `UPDATE 3`."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement for each row of arguments, atomically."""
        ...

    async def fetch(self, query: str, *args: object) -> Sequence[Record]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row."""
        ...

    async def fetchval(self, query: str, *args: object, column: int = 0) -> Any:
        """Return one column of the first row, None without a row."""
        ...

    def cursor(self, query: str, *args: object, prefetch: int | None = None) -> Any:
        """Iterate over rows without loading all; only inside a transaction."""
        ...

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[object]],
        columns: Sequence[str] | None = None,
    ) -> str:
        """Insert many rows with COPY."""
        ...

    def transaction(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """Open a transaction, or a savepoint inside one."""
        ...


# A connection on which a transaction is open; the first parameter of what must be atomic.
Transaction: TypeAlias = Connection


class DatabaseObserver(Protocol):
    """Who wants to know how long the database took."""

    def connection_waited(self, seconds: float) -> None:
        """Learn how long a caller waited for a free connection."""
        ...

    def operation_ended(self, operation: str, seconds: float) -> None:
        """Learn how long a caller held its connection; `operation` is the caller's name for it."""
        ...


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached, or no connection is free; later it may work."""


class UnsuitableDatabase(Exception):
    """PostgreSQL answers, but this server cannot work with it as it is set up."""


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(
        self,
        dsn: str,
        *,
        clock: Clock,
        settings: DatabaseSection | None = None,
        observer: DatabaseObserver | None = None,
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self._settings = settings or DatabaseSection()
        self._observer = observer
        self._pool: ConnectionPool | None = None

    async def open(self) -> None:
        """Connect, waiting for a server that is still starting.

        Raises DatabaseUnavailable when it does not come up in `startup_wait_ms`, or refuses us;
        UnsuitableDatabase when it is too old or not in UTF-8.
        """
        pool = ConnectionPool(
            self._connect,
            maximum=self._settings.max_connections,
            wait_seconds=self._settings.acquire_timeout_ms / 1000,
        )
        try:
            await _wait_for_server(pool, self._settings, self._clock)
            await pool.warm(self._settings.min_connections)
        except BaseException:
            await pool.close(_CLOSE_SECONDS)
            raise
        self._pool = pool

    async def close(self) -> None:
        """Close all connections, letting running statements end for at most five seconds."""
        if self._pool is not None:
            await self._pool.close(_CLOSE_SECONDS)

    async def __aenter__(self) -> "Database":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def connection(self, operation: str = "other") -> AsyncIterator[Connection]:
        """Lend a connection on which every statement commits by itself.

        Raises DatabaseUnavailable.
        """
        asked_at = self._clock.monotonic()
        connection = await self._lend()
        assert self._pool is not None
        lent_at = self._clock.monotonic()
        try:
            yield connection
        except _SERVER_AWAY as error:
            # It says good-bye before it closes: nobody else may get the connection until then.
            connection.terminate()
            raise DatabaseUnavailable(_explain(error)) from error
        except asyncpg.InterfaceError as error:
            if connection.is_closed():
                raise DatabaseUnavailable(_explain(error)) from error
            raise
        finally:
            self._pool.take_back(connection)
            if self._observer is not None:
                self._observer.connection_waited(lent_at - asked_at)
                self._observer.operation_ended(operation, self._clock.monotonic() - lent_at)

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        operation: str = "other",
        *,
        isolation: Isolation = "read_committed",
        readonly: bool = False,
    ) -> AsyncIterator[Transaction]:
        """Lend a connection inside a transaction, which an exception rolls back.

        Raises DatabaseUnavailable. A transaction whose commit fails that way may be in the
        database or not.
        """
        async with self.connection(operation) as connection:
            arguments: dict[str, Any] = {"readonly": readonly}
            if isolation != "read_committed":
                arguments["isolation"] = isolation
            async with connection.transaction(**arguments):
                yield connection

    async def run_transaction(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        operation: str = "other",
        *,
        isolation: Isolation = "read_committed",
    ) -> T:
        """Run `work` in a transaction, again from the start when PostgreSQL broke a tie against it.

        `work` may run up to five times and must have no effect outside of the transaction.
        """
        for attempt in range(_TRANSACTION_ATTEMPTS - 1):
            try:
                async with self.transaction(operation, isolation=isolation) as tx:
                    return await work(tx)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                await self._clock.sleep(_FIRST_RETRY_SECONDS * 2**attempt)
        async with self.transaction(operation, isolation=isolation) as tx:
            return await work(tx)

    @contextlib.asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """Open a connection beside the pool, without time limits, and close it at the end.

        For migrations and for whatever needs the session's state. Raises DatabaseUnavailable.
        """
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self._settings.connect_timeout_ms / 1000,
                server_settings={"application_name": "homeserver", "timezone": "UTC"},
            )
        except (*_SERVER_AWAY, *_NEVER_BY_WAITING, OSError) as error:
            raise DatabaseUnavailable(_explain(error)) from error
        try:
            yield connection
        finally:
            await connection.close(timeout=_CLOSE_SECONDS)

    async def _lend(self) -> Any:
        if self._pool is None:
            raise DatabaseUnavailable("the connection pool is not open")
        try:
            return await self._pool.lend()
        except TimeoutError as error:
            raise DatabaseUnavailable("no database connection became free in time") from error
        except (*_SERVER_AWAY, *_NEVER_BY_WAITING, PoolClosed, OSError) as error:
            raise DatabaseUnavailable(_explain(error)) from error

    async def _connect(self) -> Any:
        settings = self._settings
        return await asyncpg.connect(
            self._dsn,
            # A connection lives as long as the process, and its prepared statements with it.
            statement_cache_size=1000,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=64 * 1024,
            timeout=settings.connect_timeout_ms / 1000,
            # PostgreSQL ends slow statements; this ends the wait for a host that is gone.
            command_timeout=(settings.statement_timeout_ms / 1000) + 5,
            server_settings=_session_settings(settings),
        )


def _session_settings(settings: DatabaseSection) -> Mapping[str, str]:
    return {
        "application_name": "homeserver",
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
        # Our statements are short; compiling one costs more than it can save.
        "jit": "off",
        "timezone": "UTC",
    }


async def _wait_for_server(pool: ConnectionPool, settings: DatabaseSection, clock: Clock) -> None:
    deadline = clock.monotonic() + settings.startup_wait_ms / 1000
    while True:
        try:
            connection = await pool.lend()
        except asyncpg.UndefinedObjectError as error:
            # It does not know one of our session settings.
            raise UnsuitableDatabase(f"PostgreSQL is too old: {error}") from error
        except (*_NEVER_BY_WAITING, asyncpg.ClientConfigurationError, ValueError) as error:
            raise DatabaseUnavailable(_explain(error)) from error
        except (*_SERVER_AWAY, OSError) as error:
            if clock.monotonic() >= deadline:
                raise DatabaseUnavailable(_explain(error)) from error
            await clock.sleep(_RECONNECT_SECONDS)
            continue
        try:
            return await _require_suitable(connection)
        finally:
            pool.take_back(connection)


async def _require_suitable(connection: Any) -> None:
    version = connection.get_server_version().major
    if version < MINIMUM_SERVER_VERSION:
        raise UnsuitableDatabase(
            f"PostgreSQL {version} is too old; at least {MINIMUM_SERVER_VERSION} is needed"
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise UnsuitableDatabase(
            f"the database has the encoding {encoding}; create it with ENCODING 'UTF8'"
        )


def _explain(error: BaseException) -> str:
    """Say in one line why the server is away; DSN and password are never part of it."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time"
    return f"PostgreSQL cannot be used: {error}"
