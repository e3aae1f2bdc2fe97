"""The state that comes with a timeline.

Spec: client-server-api/#get_matrixclientv3sync (`state`, `state_after`)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from client_api.sync.lazy_members import LazyMembers, MemberNid, unplaced_senders
from client_api.sync.request import SyncContext
from client_api.sync.timelines import TimelineStretch
from homeserver.services.event_filters import record_predicate
from homeserver.storage import events, sync_reads
from homeserver.storage.database import Connection, Database
from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.storage.events import EventRecord
from homeserver.storage.sync_reads import PlacedState
from homeserver.streams.tail import Tail


class PlacedChange(NamedTuple):
    """A change of a key of the current state at a position."""

    key_nid: int
    pos: int
    event_nid: int | None


class StateBlocks:
    """Reads the state that the timelines of an answer need."""

    def __init__(self, database: Database, tail: Tail, lazy_members: LazyMembers) -> None:
        self._database = database
        self._tail = tail
        self._lazy_members = lazy_members

    async def full(
        self,
        context: SyncContext,
        stretches: Mapping[int, TimelineStretch],
        upto: Mapping[int, int],
        needed_members: Mapping[int, Iterable[str]],
    ) -> dict[int, list[EventRecord]]:
        """Return the whole state of rooms: before their timelines, or after them at `upto`.

        With lazy loading only `needed_members`, the timelines' senders and the user itself are
        among the members.
        """
        if not stretches:
            return {}
        chosen = context.request.filter
        places = {
            room_nid: upto[room_nid]
            if context.request.has_state_after
            else min(stretch.start - 1, upto[room_nid])
            for room_nid, stretch in stretches.items()
        }
        is_lazy = chosen.lazy_load_members
        wanted = [
            (room_nid, user_id, places[room_nid])
            for room_nid, stretch in (stretches.items() if is_lazy else ())
            for user_id in {
                context.viewer.user_id,
                *needed_members.get(room_nid, ()),
                *(record.sender for record in stretch.records),
            }
        ]
        async with self._database.connection("sync_state") as connection:
            nids = await sync_reads.state_nids_of_rooms(
                connection, places, with_members=not is_lazy
            )
            changes = await sync_reads.state_from_elsewhere(
                connection,
                {room_nid: (place, upto[room_nid]) for room_nid, place in places.items()},
                with_members=not is_lazy,
                user_ids=[user_id for _, user_id, _ in wanted],
            )
            elsewhere = _untold(changes, stretches)
            members = await sync_reads.member_nids_of_rooms(connection, wanted) if wanted else []
            members += [each.event_nid for each in elsewhere if each.event_nid is not None]
            if is_lazy:
                members += await _cited_members(connection, stretches, members)
            found = await events.events_by_nid(
                connection, [*(nid for each in nids.values() for nid in each), *members]
            )
        blocks: dict[int, list[EventRecord]] = {room_nid: [] for room_nid in stretches}
        for record in _overlaid(found.values(), elsewhere):
            blocks[record.room_nid].append(record)
        for room_nid, block in blocks.items():
            self._remember(context, room_nid, block, stretches[room_nid].records)
        return {room_nid: admitted(context, block) for room_nid, block in blocks.items()}

    async def changed(
        self,
        context: SyncContext,
        room_nid: int,
        upto: int,
        stretch: TimelineStretch,
        members: Sequence[MemberNid],
        *,
        is_complete_now: bool = False,
    ) -> list[EventRecord]:
        """Return what changed in the state of a room since the last answer.

        Before the timeline, with what changed by state resolution rather than by an event of the
        timeline; or all of it with `state_after`. `members` are the member events that a lazily
        loading client needs for the timeline's senders. `is_complete_now`: the room's
        state is, since that answer.
        """
        assert context.since is not None
        changes = await self._changes(
            room_nid, context.since, upto, is_in_entries=not is_complete_now
        )
        shown = {record.event_nid for record in stretch.records}
        last: dict[int, int | None] = {}
        for change in changes:
            if context.request.has_state_after or change.event_nid not in shown:
                last[change.key_nid] = change.event_nid
        nids = {nid for nid in last.values() if nid is not None}
        chosen = context.request.filter
        if chosen.lazy_load_members:
            if not chosen.include_redundant_members:
                members = self._lazy_members.unknown(
                    context.request.requester, context.since, room_nid, members
                )
            nids |= {member.event_nid for member in members if member.event_nid not in shown}
        if not nids:
            self._remember(context, room_nid, (), stretch.records)
            return []
        async with self._database.connection("sync_state") as connection:
            found = await events.events_by_nid(connection, nids)
        block = list(found.values())
        self._remember(context, room_nid, block, stretch.records)
        return admitted(context, block)

    async def _changes(
        self, room_nid: int, after: int, upto: int, *, is_in_entries: bool
    ) -> list[PlacedChange]:
        """Read changes; what completes a room undoes some without an event of their own."""
        if is_in_entries and after >= self._tail.floor:
            return [
                PlacedChange(change.key_nid, entry.pos, change.event_nid)
                for entry in self._tail.room_entries(room_nid, after, upto)
                for change in entry.state_changes
            ]
        async with self._database.connection("sync_state") as connection:
            rows = await sync_reads.changed_state_nids(connection, room_nid, after, upto)
        return [PlacedChange(*row) for row in rows]

    def _remember(
        self,
        context: SyncContext,
        room_nid: int,
        block: Iterable[EventRecord],
        timeline: Iterable[EventRecord],
    ) -> None:
        if not context.request.filter.lazy_load_members:
            return
        members = [
            MemberNid(record.state_key, record.event_nid)
            for record in (*block, *timeline)
            if record.type == "m.room.member" and record.state_key is not None
        ]
        self._lazy_members.sent(context.request.requester, context.now, room_nid, members)


def _untold(
    changes: Iterable[PlacedState], stretches: Mapping[int, TimelineStretch]
) -> list[PlacedState]:
    shown = {record.event_nid for each in stretches.values() for record in each.records}
    return [change for change in changes if change.event_nid not in shown]


def _overlaid(
    records: Iterable[EventRecord], changes: Iterable[PlacedState]
) -> Iterable[EventRecord]:
    """Leave out what stood at keys that have changed since."""
    changed = {(each.room_nid, each.type, each.state_key): each.event_nid for each in changes}
    for record in records:
        key = (record.room_nid, record.type, record.state_key or "")
        if changed.get(key, record.event_nid) == record.event_nid:
            yield record


async def _cited_members(
    connection: Connection, stretches: Mapping[int, TimelineStretch], members: Sequence[int]
) -> list[int]:
    """Return the members among the senders that rooms with incomplete state do not have."""
    records = [record for stretch in stretches.values() for record in stretch.records]
    if not any(record.flags & PARTIAL_STATE for record in records):
        return []
    found = await events.events_by_nid(connection, members)
    known = {(each.room_nid, each.state_key) for each in found.values()}
    unplaced = [
        nid
        for room_nid, stretch in stretches.items()
        for nid in unplaced_senders(
            stretch.records, {user_id for each, user_id in known if each == room_nid and user_id}
        )
    ]
    cited = await sync_reads.cited_sender_members(connection, unplaced)
    return [nid for _, nid in cited]


def admitted(context: SyncContext, records: Iterable[EventRecord]) -> list[EventRecord]:
    """Return the events that the filter's `state` lets through."""
    return list(filter(record_predicate(context.request.filter.state), records))
