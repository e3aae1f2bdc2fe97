"""Fetching the members that were omitted when a room was joined.

A join is complete when the row of it in `partial_joins` is gone, so that this goes on after a
restart, on whichever node.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from federation.policy import FederationPolicy
from homeserver.errors import RemoteError
from homeserver.ports import EventPeers
from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.rooms.receive.new_room import NewRoom
from homeserver.storage import joined_rooms
from homeserver.storage.database import Database
from homeserver.storage.joined_rooms import PartialJoin
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Whole states are large; rooms are completed a few at a time.
_AT_ONCE: Final = 2
# Of those that are in the room; after a pause the list is begun again.
_MAX_SERVERS: Final = 10
_PAUSE_SECONDS: Final = 15.0


class CompleteJoins:
    """Completes rooms in the background."""

    def __init__(
        self,
        database: Database,
        new_rooms: NewRoom,
        peers: EventPeers,
        policy: FederationPolicy,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._new_rooms = new_rooms
        self._peers = peers
        self._policy = policy
        self._tasks = tasks
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._working: dict[RoomID, asyncio.Event] = {}

    def start(self) -> None:
        """Begin with what was left over, and look again every now and then."""
        self._tasks.every("complete joins", _PAUSE_SECONDS, self.begin)

    async def begin(self) -> None:
        """Work on all rooms that are not complete."""
        async with self._database.connection("partial_joins") as connection:
            joins = await joined_rooms.partial_joins(connection)
        for join in joins:
            if join.room_id not in self._working:
                self._working[join.room_id] = asyncio.Event()
                self._tasks.spawn("complete join", self._work(join))

    async def attempted(self, room_id: RoomID) -> None:
        """Wait for the end of the attempt that is being made for a room, if there is one."""
        working = self._working.get(room_id)
        if working is not None:
            await working.wait()

    async def _work(self, join: PartialJoin) -> None:
        try:
            async with self._slots:
                await self._complete(join, self._servers(join))
        finally:
            self._working.pop(join.room_id).set()

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
        admitted = [each for each in join.servers_in_room if self._policy.may_talk_to(each)]
        return admitted[:_MAX_SERVERS]
