"""The bus between nodes: wake-ups that may be lost.

A message says how far the log has reached; whoever hears it reads the rest from PostgreSQL. A
poll stands behind it, so that losing every message costs latency and nothing else.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

_CHANNEL_OF_THE_LOG = "log"
# A lost connection is tried again after this wait; polls cover the time between.
_RETRY_SECONDS = 1.0
_MAX_DIGITS = 19  # of a bigint


class Bus(Protocol):
    """What a node needs of a bus."""

    def announce(self, position: int) -> None:
        """Tell the other nodes, without waiting, that the log has reached a position."""
        ...

    async def start(self, heard: Callable[[int], None]) -> None:
        """Begin to listen."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...


class LocalBus:
    """The bus of a single node: nobody else is there."""

    def announce(self, position: int) -> None:
        """Nobody needs to hear it."""

    async def start(self, heard: Callable[[int], None]) -> None:
        """Nobody will be heard."""

    async def stop(self) -> None:
        """There is nothing to stop."""


class RedisBus:
    """A bus over Redis publish/subscribe.

    Announcements are merged: while one is on its way only the newest position waits.
    """

    def __init__(
        self, url: str, tasks: Tasks, clock: Clock, *, prefix: str = "homeserver:"
    ) -> None:
        # Nothing is tried twice here: the next announcement is at least as good as the last.
        self._redis: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0)
        )
        self._channel = prefix + _CHANNEL_OF_THE_LOG
        self._tasks = tasks
        self._clock = clock
        self._to_announce = 0
        self._announcing: asyncio.Task[None] | None = None
        # A Redis that is away is told of once, not with every try.
        self._is_failing = False
        self._is_deaf = False

    def announce(self, position: int) -> None:
        """Publish a position; a failure is logged, and the others' polls make up for it."""
        self._to_announce = max(self._to_announce, position)
        if self._announcing is None:
            self._announcing = self._tasks.spawn("bus announce", self._announce())

    async def start(self, heard: Callable[[int], None]) -> None:
        """Subscribe and call `heard` with every position that any node announces."""
        self._tasks.spawn("bus listen", self._listen(heard))

    async def stop(self) -> None:
        """Close the connections; the listening task is stopped with all the others."""
        await self._redis.aclose()

    async def _announce(self) -> None:
        try:
            announced = 0
            while self._to_announce > announced:
                announced = self._to_announce
                await self._redis.publish(self._channel, str(announced))
            self._is_failing = False
        except (RedisError, OSError) as error:
            if not self._is_failing:
                log.warning("bus announcement failed", error=str(error))
            self._is_failing = True
        finally:
            self._announcing = None

    async def _listen(self, heard: Callable[[int], None]) -> None:
        while True:
            try:
                await self._listen_once(heard)
            except (RedisError, OSError) as error:
                if not self._is_deaf:
                    log.warning("bus connection lost", error=str(error))
                self._is_deaf = True
            await self._clock.sleep(_RETRY_SECONDS)

    async def _listen_once(self, heard: Callable[[int], None]) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel)
            self._is_deaf = False
            async for message in channel.listen():
                position = _position_in(message["data"])
                if position is not None:
                    heard(position)


def _position_in(message: bytes) -> int | None:
    """Return what was announced; None for what no node can have sent."""
    is_position = message.isdigit() and len(message) <= _MAX_DIGITS
    return int(message) if is_position else None
