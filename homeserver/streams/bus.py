"""The bus between nodes: wake-ups that may be lost.

A message says how far the log has reached; whoever hears it reads the rest from PostgreSQL. A
poll stands behind it, so that losing every message costs latency and nothing else.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

_CHANNEL_OF_THE_LOG = "log"
# A lost connection is tried again after this wait; polls cover the time between.
_RETRY_SECONDS = 1.0


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

    def __init__(self, url: str, tasks: Tasks, *, prefix: str = "homeserver:") -> None:
        self._redis: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url)
        self._channel = prefix + _CHANNEL_OF_THE_LOG
        self._tasks = tasks
        self._to_announce = 0
        self._announcing: asyncio.Task[None] | None = None

    def announce(self, position: int) -> None:
        """Publish a position; a failure is logged, and the others' polls make up for it."""
        self._to_announce = max(self._to_announce, position)
        if self._announcing is None:
            self._announcing = self._tasks.spawn("bus announce", self._announce())

    async def start(self, heard: Callable[[int], None]) -> None:
        """Subscribe and call `heard` with every position that another node announces."""
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
        except (RedisError, OSError) as error:
            log.warning("bus announcement failed", error=str(error))
        finally:
            self._announcing = None

    async def _listen(self, heard: Callable[[int], None]) -> None:
        while True:
            try:
                await self._listen_once(heard)
            except (RedisError, OSError) as error:
                log.warning("bus connection lost", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_once(self, heard: Callable[[int], None]) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel)
            async for message in channel.listen():
                heard(int(message["data"]))
