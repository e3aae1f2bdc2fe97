"""Which servers are left alone because they failed, and for how long.

    if await destinations.is_backing_off(server): …        # or retry_ts, or load for many at once
    destinations.on_wake(sender.wake)                      # a silent server has spoken

The client keeps the account; who serves requests says `spoke`. Kept in the database, so that a
restart does not begin to knock at thousands of dead servers again; other nodes' findings are
seen within a minute.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from homeserver.protocol.backoff import retry_delay_ms
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import destination_failures
from homeserver.storage.database import Database
from homeserver.storage.destination_failures import FailureRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

WakeListener: TypeAlias = Callable[[ServerName], None]

# How old what is known of a server may be: other nodes find things out as well.
_FRESH_SECONDS: Final = 60.0
_MAX_REMEMBERED: Final = 50_000
# A server that speaks all the time but cannot be reached is tried this often, no more.
_WAKE_INTERVAL_MS: Final = 60_000


class _Known(msgspec.Struct, frozen=True):
    """What the database said of a server; None: it does not fail."""

    row: FailureRow | None
    read_at: float


class Destinations:
    """Keeps the account of failures of all servers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._random = secrets.SystemRandom()
        self._known: OrderedDict[ServerName, _Known] = OrderedDict()
        self._listeners: list[WakeListener] = []

    def on_wake(self, listener: WakeListener) -> None:
        """Call `listener` when a server that was left alone has spoken, or has answered."""
        self._listeners.append(listener)

    async def is_backing_off(self, server: ServerName) -> bool:
        """Whether a server is to be left alone now."""
        retry_ts = await self.retry_ts(server)
        return retry_ts is not None and retry_ts > self._clock.now_ms()

    async def retry_ts(self, server: ServerName) -> int | None:
        """Return when a failing server may be tried again; None: it does not fail."""
        row = await self._row(server)
        return None if row is None else row.retry_ts

    async def failing_since_ts(self, server: ServerName) -> int | None:
        """Return when a failing server first failed; None: it does not fail."""
        row = await self._row(server)
        return None if row is None else row.failing_since_ts

    async def load(self, servers: Iterable[ServerName]) -> None:
        """Read what is not known yet of many servers, in one statement."""
        unknown = [server for server in servers if self._fresh(server) is None]
        if unknown:
            await self._read(unknown)

    async def succeeded(self, server: ServerName) -> None:
        """Forget the failures of a server that has answered."""
        if await self._row(server) is None:
            return
        self._remember(server, None)
        log.info("server answers again", server=server)
        async with self._database.connection("destinations.succeeded") as connection:
            await destination_failures.delete(connection, server)
        for listener in self._listeners:
            listener(server)

    async def failed(
        self, server: ServerName, *, started_ts: int, retry_after_ms: int | None = None
    ) -> None:
        """Count the failure of a request that began at `started_ts`.

        One that began before the last failure was told of the same trouble, and does not count.
        `retry_after_ms` is how long the server itself wants to be left alone.
        """
        before = await self._row(server)
        if before is not None and started_ts <= before.failed_ts:
            return
        now_ms = self._clock.now_ms()
        failures = 1 if before is None else before.failures + 1
        delay_ms = retry_delay_ms(failures, self._random.random())
        row = FailureRow(
            server,
            failures,
            now_ms if before is None else before.failing_since_ts,
            now_ms,
            now_ms + max(delay_ms, retry_after_ms or 0),
        )
        self._remember(server, row)
        log.info("server left alone", server=server, failures=failures, delay_ms=delay_ms)
        async with self._database.connection("destinations.failed") as connection:
            await destination_failures.upsert(connection, row)

    async def spoke(self, server: ServerName) -> None:
        """Let a server that has sent a request be tried at once; its failures stay counted."""
        row = await self._row(server)
        now_ms = self._clock.now_ms()
        if row is None or row.retry_ts <= now_ms or now_ms - row.failed_ts < _WAKE_INTERVAL_MS:
            return
        self._remember(server, row._replace(retry_ts=now_ms))
        async with self._database.connection("destinations.spoke") as connection:
            await destination_failures.set_retry(connection, server, now_ms)
        for listener in self._listeners:
            listener(server)

    async def _row(self, server: ServerName) -> FailureRow | None:
        known = self._fresh(server)
        if known is None:
            await self._read([server])
            known = self._known[server]
        return known.row

    def _fresh(self, server: ServerName) -> _Known | None:
        known = self._known.get(server)
        if known is None or known.read_at + _FRESH_SECONDS < self._clock.monotonic():
            return None
        return known

    async def _read(self, servers: Sequence[ServerName]) -> None:
        async with self._database.connection("destinations.read") as connection:
            rows = await destination_failures.read(connection, servers)
        failing = {row.server_name: row for row in rows}
        for server in servers:
            self._remember(server, failing.get(server))

    def _remember(self, server: ServerName, row: FailureRow | None) -> None:
        self._known[server] = _Known(row, self._clock.monotonic())
        self._known.move_to_end(server)
        while len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
