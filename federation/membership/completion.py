"""Fetching the members that were omitted when a room was joined.

A join is complete when the row of it in `partial_joins` is gone, so that this goes on after a
restart, on whichever node.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from federation.policy import FederationPolicy
from homeserver.errors import RemoteError
from homeserver.ports import EventPeers
from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.receive.new_room import NewRoom
from homeserver.storage import joined_rooms
from homeserver.storage.database import Database
from homeserver.storage.joined_rooms import PartialJoin
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Whole states are large; rooms are completed a few at a time.
_AT_ONCE: Final = 2
# Of those that are in the room; after a pause others of them are asked.
_MAX_SERVERS: Final = 10
_PAUSE_SECONDS: Final = 15.0
# Of a very large room; then another node does what the one has perhaps died over.
_OVERDUE_MS: Final = 120_000


_Key: TypeAlias = tuple[RoomID, EventID]


class CompleteJoins:
    """Completes rooms in the background."""

    def __init__(
        self,
        database: Database,
        new_rooms: NewRoom,
        peers: EventPeers,
        policy: FederationPolicy,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._database = database
        self._new_rooms = new_rooms
        self._peers = peers
        self._policy = policy
        self._tasks = tasks
        self._clock = clock
        self._random = secrets.SystemRandom()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        # A room may be joined again while an earlier join of it is being completed.
        self._working: dict[_Key, asyncio.Event] = {}
        # What this node goes on with after a failure.
        self._begun: set[_Key] = set()

    def start(self) -> None:
        """Begin with what was left over, and look again every now and then."""
        self._tasks.spawn("complete joins", self.begin())
        self._tasks.every("complete joins", _PAUSE_SECONDS, self.begin_again)

    async def begin(self, room_id: RoomID | None = None) -> None:
        """Work on a room that is not complete, or on all."""
        await self._take_up(lambda join: room_id in (None, join.room_id))

    async def begin_again(self) -> None:
        """Go on with what this node has begun, and with what another does not bring to an end."""
        before = self._clock.now_ms() - _OVERDUE_MS
        await self._take_up(lambda join: _key_of(join) in self._begun or join.joined_ts <= before)

    async def _take_up(self, is_chosen: Callable[[PartialJoin], bool]) -> None:
        async with self._database.connection("partial_joins") as connection:
            joins = await joined_rooms.partial_joins(connection)
        self._begun.intersection_update(map(_key_of, joins))
        for join in filter(is_chosen, joins):
            key = _key_of(join)
            self._begun.add(key)
            if key not in self._working:
                self._working[key] = asyncio.Event()
                self._tasks.spawn("complete join", self._work(join))

    async def attempted(self, room_id: RoomID) -> None:
        """Wait for the end of the attempts that are being made for a room, if there are any."""
        working = [each for key, each in self._working.items() if key[0] == room_id]
        await asyncio.gather(*(each.wait() for each in working))

    async def _work(self, join: PartialJoin) -> None:
        try:
            async with self._slots:
                if await self._new_rooms.abandon(join):
                    log.info("members of a room that was left stay unknown", room_id=join.room_id)
                else:
                    await self._complete(join, self._servers(join))
        finally:
            self._working.pop(_key_of(join)).set()

    async def _complete(self, join: PartialJoin, servers: Sequence[ServerName]) -> None:
        for server in servers:
            try:
                # One after the other: the first good answer makes the others superfluous.
                state, auth_chain = await self._peers.state(
                    server, join.room_id, join.join_event_id
                )
                await self._new_rooms.complete(join, state, auth_chain)
            except (RemoteError, InvalidEvent) as error:
                log.warning("state of a room not had", server=server, reason=str(error))
            else:
                log.info("room is complete", room_id=join.room_id, server=server)
                return

    def _servers(self, join: PartialJoin) -> list[ServerName]:
        """Return who has answered the join, and some of the others, not the same each time."""
        admitted = [each for each in join.servers_in_room if self._policy.may_talk_to(each)]
        others = admitted[1:]
        chosen = self._random.sample(others, min(len(others), _MAX_SERVERS - 1))
        return [*admitted[:1], *chosen]


def _key_of(join: PartialJoin) -> _Key:
    return join.room_id, join.join_event_id
