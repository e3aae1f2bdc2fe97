"""Queueing notifications: followers of the log, each for its share of the rooms."""

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.rooms.event_cache import EventCache
from homeserver.services.push.outcomes import PushOutcomes
from homeserver.services.push.outside_pushes import OutsidePushes
from homeserver.services.push.pushed_users import PushedUsers, changes_members
from homeserver.storage import push_queue
from homeserver.storage.push_queue import CountPush, EventPush
from homeserver.streams.entries import (
    MEMBERSHIP_OUTSIDE,
    EventEntry,
    LogEntry,
    ReceiptEntry,
    UserEntry,
)
from homeserver.streams.follower import Stretch
from homeserver.telemetry.clock import Clock

# Spread over the nodes; a room is always in the same one, so that its events stay in order.
SHARDS: Final = 8

_encode: Final = msgspec.json.Encoder().encode


def follower_name(shard: int) -> str:
    """Return the name of the follower of a share."""
    return f"push-{shard}"


class PushFollower:
    """Finds whom events notify, and who has read something."""

    def __init__(
        self,
        shard: int,
        users: PushedUsers,
        outcomes: PushOutcomes,
        outside: OutsidePushes,
        cache: EventCache,
        clock: Clock,
        wake: Callable[[Collection[int]], None],
        *,
        email_delay_ms: int,
    ) -> None:
        """`wake` is told for which pushers something waits."""
        self._shard = shard
        self._users = users
        self._outcomes = outcomes
        self._outside = outside
        self._cache = cache
        self._clock = clock
        self._wake = wake
        self._email_delay_ms = email_delay_ms

    def concerns(self, entry: LogEntry) -> bool:
        """Whether an entry may notify anybody, or tell that somebody has read something."""
        if isinstance(entry, EventEntry):
            return entry.room_nid % SHARDS == self._shard and (
                self._users.may_be_in(entry.room_nid) or changes_members(entry)
            )
        if isinstance(entry, ReceiptEntry):
            is_ours = entry.room_nid % SHARDS == self._shard
            return is_ours and self._users.may_have(entry.user_id)
        if isinstance(entry, UserEntry) and entry.kind == MEMBERSHIP_OUTSIDE:
            is_ours = (entry.room_nid or 0) % SHARDS == self._shard
            return is_ours and self._users.may_have(entry.user_id)
        return False

    async def handle(self, stretch: Stretch) -> None:
        """Queue what follows from the entries."""
        await self._users.load()
        pushes: list[EventPush] = []
        counts: list[CountPush] = []
        for entry in stretch.entries:
            # One after the other, because nearly everything is in memory.
            if isinstance(entry, EventEntry):
                pushes += await self._pushes_of(entry)
            elif isinstance(entry, UserEntry):
                pushes += await self._outside.pushes_of(entry)
            reader = _reader_of(entry)
            if reader is not None and self._users.may_have(reader):
                counts.append(CountPush(reader, entry.pos))
        if not pushes and not counts:
            return
        now_ms, woken = self._clock.now_ms(), set[int]()
        async with stretch.done() as tx:
            if pushes:
                woken |= await push_queue.put_events(tx, pushes, now_ms, self._email_delay_ms)
            if counts:
                woken |= await push_queue.put_counts(tx, counts, now_ms)
        if woken:
            self._wake(woken)

    async def _pushes_of(self, entry: EventEntry) -> list[EventPush]:
        record = entry.record
        room = await self._users.in_room(entry.room_id)
        if room is None or record.redaction_id is not None:
            return []
        head, users = room
        if record.type == "m.room.member" and record.state_key is not None:
            # An invite notifies somebody who is not in the room.
            invited = UserID(record.state_key)
            is_invited = head.membership_of(invited) == "invite" and self._users.may_have(invited)
            if is_invited and not await self._outside.has_told(
                invited, entry.room_nid, record.event_id
            ):
                users = users | {invited}
        if not users:
            return []
        event = (await self._cache.get([record.event_nid])).get(record.event_nid)
        if event is None:
            return []
        by_user = {count.user_id: count for count in entry.notifications}
        outcomes = await self._outcomes.of(head, event, users, by_user)
        return [
            EventPush(
                user_id, entry.pos, record.event_nid, outcome.highlight, _encode(outcome.tweaks)
            )
            for user_id, outcome in outcomes.items()
        ]


def _reader_of(entry: LogEntry) -> UserID | None:
    """Return whose counts are lower after an entry.

    That is who has read the room by a receipt or by sending a message, and who has left it.
    """
    if isinstance(entry, ReceiptEntry):
        return UserID(entry.user_id)
    if not isinstance(entry, EventEntry):
        return None
    record = entry.record
    if record.state_key is None:
        return UserID(record.sender)
    return UserID(record.state_key) if record.type == "m.room.member" else None
