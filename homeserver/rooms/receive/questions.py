"""Whom to ask for what an event lacks, and how long that may take: servers may be slow on purpose.

Only waiting counts. A server that answers each question just in time has used its time up after
some of them; then others in the room are asked, until the time for all of them is used up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_Answer = TypeVar("_Answer")

# A slow server takes about so long to tell the state of a room of a hundred thousand members.
SERVER_SECONDS: Final = 60.0
# Two of them one after the other; nobody else's events wait for it.
BUDGET_SECONDS: Final = 120.0
# The origin among them. What four servers of a room have not got, hardly anybody has.
MAX_SERVERS: Final = 4


class Unjudged(Exception):
    """What is needed to judge an event could not be had; it may be had later."""


class OtherServers:
    """Chooses who else may have what the origin of an event does not give."""

    def __init__(self, servers: ServersInRooms, acls: ServerAcls, own_name: ServerName) -> None:
        self._servers = servers
        self._acls = acls
        self._own_name = own_name

    async def of(
        self, head: RoomHead, origin: ServerName, senders: Iterable[ServerName]
    ) -> list[ServerName]:
        """Return a few servers that are in a room: those of the senders, then the largest.

        None, if the origin itself is not in the room: strangers cannot make us bother others.
        """
        in_room = await self._servers.others(head, self._own_name)
        if origin not in in_room:
            return []
        wanted = set(senders)
        chosen: list[ServerName] = []
        for server in sorted(in_room, key=lambda each: each not in wanted):
            if len(chosen) == MAX_SERVERS - 1:
                break
            if server != origin and await self._acls.allows(head, server):
                chosen.append(server)
        return chosen


class Questions:
    """The questions that may be asked about events which one server has sent.

    One at a time. `others`: who else is asked, looked up when the origin does not help.
    """

    def __init__(
        self,
        clock: Clock,
        origin: ServerName,
        others: Callable[[], Awaitable[Sequence[ServerName]]] | None = None,
    ) -> None:
        self.origin: Final = origin
        self._clock = clock
        self._find_others = others
        self._others: Sequence[ServerName] | None = None
        self._left = BUDGET_SECONDS
        self._left_of: dict[ServerName, float] = {}
        self._failed: set[ServerName] = set()

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self._left <= 0

    @property
    def has_origin_dawdled(self) -> bool:
        """Whether it was the origin, rather than others, that used up the time, or its share."""
        left = self._left_of.get(self.origin, SERVER_SECONDS)
        spent = SERVER_SECONDS - left
        return left <= 0 or (self.is_over and spent >= BUDGET_SECONDS / 2)

    async def next_server(
        self, asked: set[ServerName], first: ServerName | None = None
    ) -> ServerName | None:
        """Return whom to ask next, and add it to those asked; None: there is nobody left.

        `first` comes before the origin, and the origin before others. Who has failed is left out.
        """
        for server in (first or self.origin, self.origin):
            if self._may_ask(server, asked):
                asked.add(server)
                return server
        if self._others is None:
            self._others = await self._find_others() if self._find_others is not None else ()
        for server in self._others:
            if self._may_ask(server, asked):
                asked.add(server)
                return server
        return None

    def _may_ask(self, server: ServerName, asked: set[ServerName]) -> bool:
        return server not in asked and server not in self._failed

    async def ask(self, server: ServerName, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return a server's answer. Raises RemoteError; Unjudged: all of the time is used up."""
        left = self._left_of.get(server, SERVER_SECONDS)
        is_last = left >= self._left
        try:
            async with asyncio.timeout(self._limit(left)) as limit:
                return await self._measured(question, server)
        except RemoteError as error:
            if error.status is None or error.status >= 500 or error.status == 429:
                self._failed.add(server)
            raise
        except TimeoutError:
            if not limit.expired():
                raise
            self._failed.add(server)
            log.warning("server takes too long", server=server)
            if is_last:
                self._end()
                raise Unjudged from None
            self._left_of[server] = 0.0
            raise RemoteError(server, "it takes too long") from None

    async def wait(self, work: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return what has to be had of whichever servers, keys for one.

        Raises Unjudged: all of the time is used up.
        """
        try:
            async with asyncio.timeout(self._limit(self._left)) as limit:
                return await self._measured(work, None)
        except TimeoutError:
            if not limit.expired():
                raise
            self._end()
            raise Unjudged from None

    def _limit(self, seconds: float) -> float:
        if self.is_over:
            raise Unjudged
        return min(seconds, self._left)

    async def _measured(
        self, work: Callable[[], Awaitable[_Answer]], server: ServerName | None
    ) -> _Answer:
        started = self._clock.monotonic()
        try:
            return await work()
        finally:
            seconds = self._clock.monotonic() - started
            self._left -= seconds
            if server is not None:
                self._left_of[server] = self._left_of.get(server, SERVER_SECONDS) - seconds

    def _end(self) -> None:
        # Two clocks never agree to the millisecond.
        self._left = 0.0
