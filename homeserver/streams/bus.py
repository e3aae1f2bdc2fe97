"""The bus between nodes: wake-ups and other messages that may be lost.

An announcement says how far the log has reached; whoever hears it reads the rest from PostgreSQL.
A poll stands behind it, so that losing every one costs latency and nothing else. What is told
besides is gone when it is lost: who is typing.
"""

import asyncio
from collections import deque
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
_CHANNEL_OF_MESSAGES = "messages"
# Of more messages than this that wait for Redis the oldest are dropped.
_MAX_MESSAGES = 1_000
# A lost connection is tried again after this wait; polls cover the time between.
_RETRY_SECONDS = 1.0
_MAX_DIGITS = 19  # of a bigint


class Bus(Protocol):
    """What a node needs of a bus."""

    def announce(self, position: int) -> None:
        """Tell the other nodes, without waiting, that the log has reached a position."""
        ...

    def tell(self, message: bytes) -> None:
        """Send a message to the other nodes without waiting; it may come back to this one."""
        ...

    async def start(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
        """Begin to listen to announcements and to messages."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...


class LocalBus:
    """The bus of a single node: nobody else is there."""

    def announce(self, position: int) -> None:
        """Nobody needs to hear it."""

    def tell(self, message: bytes) -> None:
        """Nobody is there to be told."""

    async def start(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
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
        self._messages_channel = prefix + _CHANNEL_OF_MESSAGES
        self._tasks = tasks
        self._clock = clock
        self._announced = 0
        self._to_announce = 0
        self._messages: deque[bytes] = deque(maxlen=_MAX_MESSAGES)
        self._sending: asyncio.Task[None] | None = None
        # A Redis that is away is told of once, not with every try.
        self._is_failing = False
        self._is_deaf = False

    def announce(self, position: int) -> None:
        """Publish a position; a failure is logged, and the others' polls make up for it."""
        self._to_announce = max(self._to_announce, position)
        self._begin_to_send()

    def tell(self, message: bytes) -> None:
        """Publish a message; with a failure it is lost, and all that wait behind it."""
        self._messages.append(message)
        self._begin_to_send()

    async def start(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
        """Subscribe; call `heard` with positions and `told` with messages of any node."""
        self._tasks.spawn("bus listen", self._listen(heard, told))

    async def stop(self) -> None:
        """Close the connections; the listening task is stopped with all the others."""
        await self._redis.aclose()

    def _begin_to_send(self) -> None:
        if self._sending is None:
            self._sending = self._tasks.spawn("bus announce", self._send())

    async def _send(self) -> None:
        try:
            while self._to_announce > self._announced or self._messages:
                if self._to_announce > self._announced:
                    self._announced = self._to_announce
                    await self._redis.publish(self._channel, str(self._announced))
                if self._messages:
                    await self._redis.publish(self._messages_channel, self._messages.popleft())
            self._is_failing = False
        except (RedisError, OSError) as error:
            self._messages.clear()
            if not self._is_failing:
                log.warning("bus announcement failed", error=str(error))
            self._is_failing = True
        finally:
            self._sending = None

    async def _listen(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
        while True:
            try:
                await self._listen_once(heard, told)
            except (RedisError, OSError) as error:
                if not self._is_deaf:
                    log.warning("bus connection lost", error=str(error))
                self._is_deaf = True
            await self._clock.sleep(_RETRY_SECONDS)

    async def _listen_once(
        self, heard: Callable[[int], None], told: Callable[[bytes], None]
    ) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel, self._messages_channel)
            self._is_deaf = False
            async for message in channel.listen():
                if message["channel"] == self._messages_channel.encode():
                    told(message["data"])
                    continue
                position = _position_in(message["data"])
                if position is not None:
                    heard(position)


def _position_in(message: bytes) -> int | None:
    """Return what was announced; None for what no node can have sent."""
    is_position = message.isdigit() and len(message) <= _MAX_DIGITS
    return int(message) if is_position else None
