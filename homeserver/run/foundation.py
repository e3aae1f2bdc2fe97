"""The lower layers of a node: database, log, bus, clock, metrics, tasks."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator

import msgspec

from homeserver.config.model import Config
from homeserver.run.run_marks import RunMarks
from homeserver.services.shared_rate_limits import TELL_SECONDS, SharedRateLimits
from homeserver.storage import follower_nodes
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import migrate
from homeserver.streams.bus import Bus, LocalBus, RedisBus
from homeserver.streams.ephemeral import EXPIRY_SECONDS, TypingUsers
from homeserver.streams.log_reader import LogReader
from homeserver.streams.log_writer import LogWriter
from homeserver.streams.notifier import Notifier
from homeserver.streams.partial_rooms import PartialRooms
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.streams.tail import Tail
from homeserver.streams.unread import UnreadCounts
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.tasks import Tasks
from homeserver.web.rate_limit import RateLimiter

log = get_logger(__name__)

# Behind the bus, whose messages may be lost: how late a change of another node can be.
_POLL_SECONDS = 1.0
_WATCH_SECONDS = 1.0
# Enough to tell all runs of all nodes of one server apart.
_RUN_BYTES = 8


class Foundation(msgspec.Struct, frozen=True, kw_only=True):
    """What everything else of a node stands on."""

    config: Config
    # Of this run of the process: no other run ever has it.
    node_id: str
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    shutdown: Shutdown
    database: Database
    reader: LogReader
    tail: Tail
    bus: Bus
    log_writer: LogWriter
    notifier: Notifier
    user_rooms: UserRooms
    partial_rooms: PartialRooms
    personal_rules: PersonalRuleIndex
    unread: UnreadCounts
    typing: TypingUsers
    rate_limiter: RateLimiter


class _DatabaseTimes:
    """Observes how long database operations take."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def connection_waited(self, seconds: float) -> None:
        """Count the wait as an operation of its own."""
        self._metrics.statement_seconds.labels("wait_for_connection").observe(seconds)

    def operation_ended(self, operation: str, seconds: float) -> None:
        """Count the time in which the connection was held."""
        self._metrics.statement_seconds.labels(operation).observe(seconds)


@contextlib.asynccontextmanager
async def foundation(
    config: Config, *, clock: Clock, metrics: Metrics, shutdown: Shutdown
) -> AsyncIterator[Foundation]:
    """Start the lower layers, and stop them in reverse order.

    Raises EmbeddedPostgresFailed, DatabaseUnavailable, UnsuitableDatabase, MigrationFailed.
    """
    tasks = Tasks(clock, metrics)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(tasks.stop)
        dsn = await _database_address(config, stack, tasks)
        database = Database(
            dsn, clock=clock, settings=config.database, observer=_DatabaseTimes(metrics)
        )
        await stack.enter_async_context(database)
        await migrate(database)
        reader = LogReader(database)
        tail = Tail(reader, tasks)
        bus = _bus(config, tasks, clock)
        log_writer = LogWriter(database, tail, bus, tasks, metrics)
        stack.push_async_callback(bus.stop)
        # What was accepted before the stop is written before the database closes.
        stack.push_async_callback(tasks.stop)
        stack.push_async_callback(log_writer.drain)
        notifier = Notifier(tail)
        node_id = await _marked_node_id(config, stack, database, clock)
        typing = TypingUsers(tail, notifier, bus, clock, node_id=node_id)
        personal_rules = PersonalRuleIndex(database, tail)
        ready = Foundation(
            config=config,
            node_id=node_id,
            clock=clock,
            metrics=metrics,
            tasks=tasks,
            shutdown=shutdown,
            database=database,
            reader=reader,
            tail=tail,
            bus=bus,
            log_writer=log_writer,
            notifier=notifier,
            user_rooms=UserRooms(database, tail),
            partial_rooms=PartialRooms(database, tail),
            personal_rules=personal_rules,
            unread=UnreadCounts(database, tail, personal_rules),
            typing=typing,
            rate_limiter=RateLimiter(clock, metrics, config.rate_limits),
        )
        await tail.start()
        await _listen(ready)
        tasks.every("tail poll", _POLL_SECONDS, tail.poll)
        tasks.every("typing expiry", EXPIRY_SECONDS, typing.expire)
        yield ready


async def _listen(base: Foundation) -> None:
    if isinstance(base.bus, LocalBus):
        # Nobody else is there.
        return
    limits = SharedRateLimits(base.rate_limiter, base.bus, node_id=base.node_id)

    def told(message: bytes) -> None:
        if not limits.heard(message):
            base.typing.heard(message)

    await base.bus.start(base.tail.heard, told)
    base.tasks.every("share rate limits", TELL_SECONDS, limits.tell)


async def _marked_node_id(
    config: Config, stack: contextlib.AsyncExitStack, database: Database, clock: Clock
) -> str:
    """Return the ID of this run, after what nodes held is free that were killed on this machine."""
    node_id = _node_id()
    marks = RunMarks(config.server.data_dir / "runs", node_id)
    try:
        dead = await asyncio.to_thread(marks.open)
    except OSError as error:
        log.warning("runs cannot be marked, leases of killed ones run out", error=str(error))
        return node_id
    stack.callback(marks.close)
    if dead:
        async with database.connection("follower_nodes") as connection:
            await follower_nodes.bury(connection, dead, clock.now_ms())
        await asyncio.to_thread(marks.forget, dead)
        log.info("nodes were killed before", node_ids=dead)
    return node_id


def _node_id() -> str:
    # Operators read it in `homeserver nodes` and in tables.
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(_RUN_BYTES)}"


async def _database_address(config: Config, stack: contextlib.AsyncExitStack, tasks: Tasks) -> str:
    if config.database.dsn is not None:
        return config.database.dsn.reveal()
    postgres = EmbeddedPostgres(
        config.embedded_database_path,
        settings=config.database.embedded_settings,
        run_as=config.database.embedded_user,
    )

    async def stop() -> None:
        await asyncio.to_thread(postgres.stop)

    async def watch() -> None:
        await asyncio.to_thread(postgres.ensure_running)

    # Before the start, which runs to its end in its thread even if we are cancelled.
    stack.push_async_callback(stop)
    dsn = await asyncio.to_thread(postgres.start)
    stack.push_async_callback(tasks.stop)
    tasks.every("embedded database watch", _WATCH_SECONDS, watch)
    return dsn


def _bus(config: Config, tasks: Tasks, clock: Clock) -> Bus:
    if config.redis.url is None:
        return LocalBus()
    return RedisBus(config.redis.url.reveal(), tasks, clock)
