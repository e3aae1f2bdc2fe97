"""Following new events, of all one's rooms or of one room, as clients did before /sync.

Spec: client-server-api/#get_matrixclientv3events, client-server-api/#room-previews
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.client_events import Viewer, render
from homeserver.services.followed_rooms import FollowedRoom, FollowedRooms, Following
from homeserver.services.presence_news import PresenceNews
from homeserver.storage import event_times, events
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.streams.log_reader import LogReader
from homeserver.streams.notifier import Notifier
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.shutdown import Shutdown
from homeserver.web.requester import Requester

# As for /sync: proxies and clients give up around a minute or two.
MAX_TIMEOUT_MS: Final = 120_000
# Of events in one answer; the client goes on from its end.
MAX_EVENTS: Final = 200


class StreamPage(NamedTuple):
    """The events after one position of the log, up to another, in client format."""

    start: int
    end: int
    chunk: list[bytes]


class EventStream:
    """Answers what is new, or waits for it."""

    def __init__(
        self,
        database: Database,
        followed_rooms: FollowedRooms,
        tail: Tail,
        reader: LogReader,
        notifier: Notifier,
        personal_rules: PersonalRuleIndex,
        clock: Clock,
        shutdown: Shutdown,
        presence: PresenceNews | None,
    ) -> None:
        """`presence` None: none is kept."""
        self._database = database
        self._followed_rooms = followed_rooms
        self._tail = tail
        self._reader = reader
        self._notifier = notifier
        self._personal_rules = personal_rules
        self._clock = clock
        self._shutdown = shutdown
        self._presence = presence

    async def after(
        self, requester: Requester, start: int | None, *, room_id: RoomID | None, timeout_ms: int
    ) -> StreamPage:
        """Return the events after a position, None for now; waits while there are none.

        Of the user's rooms, or of one room that the user may read. Raises Forbidden;
        InvalidParam: the position is of a future that this log does not have.
        """
        if start is None:
            start = self._tail.position
        elif start > self._tail.position:
            await self._reach(start)
        deadline = self._clock.monotonic() + min(timeout_ms, MAX_TIMEOUT_MS) / 1000
        done = start
        while True:
            following = await self._following(requester, room_id, done)
            position = self._tail.position
            records = await self._records(following, done)
            chunk = await self._rendered(requester, following.rooms, records)
            is_full = len(records) == MAX_EVENTS
            before = done
            done = records[-1].pos or done if is_full else max(done, following.upto)
            if room_id is None:
                chunk += await self._presence_events(requester, following, before, done)
            left = deadline - self._clock.monotonic()
            if chunk or left <= 0 or self._shutdown.has_begun:
                return StreamPage(start, done, chunk)
            if not is_full and self._tail.position == position:
                await self._wait(requester, following.rooms, left)

    async def _reach(self, position: int) -> None:
        if position > await self._reader.head():
            raise InvalidParam("Unknown from token")
        await self._tail.reach(position)

    async def _following(
        self, requester: Requester, room_id: RoomID | None, since: int
    ) -> Following:
        if room_id is not None:
            return await self._followed_rooms.one(requester.user_id, room_id)
        return await self._followed_rooms.all(requester.user_id, since)

    async def _records(self, following: Following, after: int) -> Sequence[EventRecord]:
        """Return the first events of the rooms after a position."""
        room_nids = [room.room_nid for room in following.rooms]
        if after >= self._tail.floor:
            found = [
                entry.record
                for room_nid in room_nids
                if self._tail.last_position_of(room_nid) > after
                for entry in self._tail.room_entries(room_nid, after, following.upto)
            ]
            found.sort(key=lambda record: record.pos or 0)
            return found[:MAX_EVENTS]
        async with self._database.connection("event_stream") as connection:
            nids = await event_times.new_in_rooms(
                connection, room_nids, after, following.upto, MAX_EVENTS
            )
            by_nid = await events.events_by_nid(connection, nids)
        return [by_nid[nid] for nid in nids]

    async def _rendered(
        self, requester: Requester, rooms: Sequence[FollowedRoom], records: Sequence[EventRecord]
    ) -> list[bytes]:
        if not records:
            return []
        personal = await self._personal_rules.of_user(requester.user_id)
        ignored = personal.ignored if personal is not None else ()
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        by_nid = {room.room_nid: room for room in rooms}
        return [
            render(record, viewer, room.membership_at(record.pos), room.room_id)
            for record in records
            for room in [by_nid[record.room_nid]]
            if room.admits(record)
            # "Servers must still send state events sent by ignored users to clients."
            and (record.state_key is not None or record.sender not in ignored)
        ]

    async def _presence_events(
        self, requester: Requester, following: Following, after: int, upto: int
    ) -> list[bytes]:
        if self._presence is None:
            return []
        rooms = {room.room_nid: room.row for room in following.rooms if room.row is not None}
        states = await self._presence.since(requester.user_id, rooms, after)
        # What is newer is told with the next page.
        return [self._presence.event(state) for state in states if state.pos <= upto]

    async def _wait(
        self, requester: Requester, rooms: Iterable[FollowedRoom], seconds: float
    ) -> None:
        waiter = self._notifier.begin_waiting(requester.user_id, [room.room_nid for room in rooms])
        try:
            async with asyncio.timeout(seconds):
                await waiter.future
        except TimeoutError:
            pass
        finally:
            self._notifier.end_waiting(waiter)
