"""The states of a room at places other than its head: before and after events, and merged."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.event import StateKey
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.head import RoomHead, StateEntry, with_delta
from homeserver.rooms.receive.known import is_rejected
from homeserver.rooms.receive.resolution import Resolved, StateResolver
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.rows import snapshot_row
from homeserver.rooms.state_keys import StateKeys
from homeserver.storage import state
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE, SnapshotWrite
from homeserver.storage.received_events import AuthEdge, EventFacts
from homeserver.storage.state import SnapshotLink

# Cached states are weighed by their entries: about 50 MB at the most.
_MAX_ENTRIES: Final = 300_000


class RoomState(NamedTuple):
    """A state with its snapshot; `rows` are the snapshots of it that are yet to be written."""

    entries: Mapping[StateKey, StateEntry]
    chain: tuple[SnapshotLink, ...]
    rows: tuple[SnapshotWrite, ...] = ()

    @property
    def state_nid(self) -> int | None:
        """The number of the snapshot; None: the state before the first event."""
        return self.chain[-1].state_nid if self.chain else None


EMPTY: Final = RoomState({}, ())


def state_of_head(head: RoomHead) -> RoomState:
    """Return the current state."""
    return RoomState(head.state, head.chain)


class RoomStates:
    """Loads, derives and merges the states of rooms. It writes nothing.

    Asked about committed events only: snapshots on their way may never be written.
    """

    def __init__(
        self,
        database: Database,
        row_numbers: RowNumbers,
        state_keys: StateKeys,
        resolver: StateResolver,
    ) -> None:
        self._database = database
        self._row_numbers = row_numbers
        self._state_keys = state_keys
        self._resolver = resolver
        # By snapshot, and by the event that a state is the one after.
        self._before: OrderedDict[int, RoomState] = OrderedDict()
        self._after: OrderedDict[int, RoomState] = OrderedDict()
        self._entries = 0

    async def before(self, facts: EventFacts) -> RoomState:
        """Return the state before an event that is no outlier."""
        if not facts.state_nid:
            return EMPTY
        found = self._before.get(facts.state_nid)
        if found is not None:
            self._before.move_to_end(facts.state_nid)
            return found
        async with self._database.connection("room_states") as connection:
            chain = await state.snapshot_chain(connection, facts.state_nid)
            rows = await state.state_at_snapshot(connection, facts.state_nid)
        loaded = RoomState(
            {
                (row.type, row.state_key): StateEntry(
                    row.key_nid, row.event_nid, row.event_id, row.membership
                )
                for row in rows
            },
            tuple(chain),
        )
        if not facts.flags & PARTIAL_STATE:
            self._keep(self._before, facts.state_nid, loaded)
        return loaded

    def remember_head(self, head: RoomHead) -> None:
        """Keep the current state of a room, all of which is committed.

        Most forks are of messages, and have no other state than that.
        """
        if head.chain and not head.is_partial_state:
            self._keep(self._before, head.state_nid, state_of_head(head))

    async def after(self, facts: EventFacts) -> RoomState:
        """Return the state after an event that is no outlier; a rejected one changes nothing."""
        found = self._after.get(facts.event_nid)
        if found is not None:
            self._after.move_to_end(facts.event_nid)
            return found
        before = await self.before(facts)
        if facts.state_key is None or is_rejected(facts):
            return before
        key = (facts.type, facts.state_key)
        entry = StateEntry(
            await self._state_keys.nid(key), facts.event_nid, facts.event_id, facts.membership
        )
        return await self.with_changes(before, facts.room_nid, {key: entry})

    def remember_after(self, event_nid: int, after: RoomState) -> None:
        """Keep the state after an event, of which everything is committed."""
        self._keep(self._after, event_nid, after._replace(rows=()))

    async def with_changes(
        self, before: RoomState, room_nid: int, changes: Mapping[StateKey, StateEntry | None]
    ) -> RoomState:
        """Return a state with some entries replaced, or removed where None."""
        entries = {**before.entries}
        delta: dict[int, int] = {}
        for key, entry in changes.items():
            removed = entries.pop(key, None)
            if entry is not None:
                entries[key] = entry
                delta[entry.key_nid] = entry.event_nid
            elif removed is not None:
                delta[removed.key_nid] = 0
        chain, link, parent_nid = with_delta(before.chain, await self._row_numbers.state(), delta)
        return RoomState(entries, chain, (*before.rows, snapshot_row(link, room_nid, parent_nid)))

    async def merged(
        self,
        states: Sequence[RoomState],
        room_nid: int,
        rules: RoomVersionRules,
        unsaved: AuthEdge | None = None,
    ) -> RoomState:
        """Resolve states into one, which is one of the given where it says the same.

        `unsaved`: see `StateResolver.resolve`.
        """
        distinct = _distinct(states)
        if len(distinct) == 1:
            return distinct[0]
        maps = [{key: entry.event_nid for key, entry in each.entries.items()} for each in distinct]
        resolved = await self._resolver.resolve(maps, rules, unsaved)
        for each, events in zip(distinct, maps, strict=True):
            if events == resolved.state:
                return each
        entries = await self._entries_of(resolved, distinct)
        base = distinct[0]
        return await self.with_changes(base, room_nid, changes_between(base.entries, entries))

    async def _entries_of(
        self, resolved: Resolved, states: Iterable[RoomState]
    ) -> dict[StateKey, StateEntry]:
        known = {entry.event_nid: entry for each in states for entry in each.entries.values()}
        # Events of the auth difference may come back though no state has them.
        keys = await self._state_keys.nids(
            key for key, nid in resolved.state.items() if nid not in known
        )
        for key, nid in resolved.state.items():
            if nid not in known:
                event = resolved.events[nid]
                known[nid] = StateEntry(keys[key], nid, event.event_id, event.membership)
        return {key: known[nid] for key, nid in resolved.state.items()}

    def _keep(self, kept: OrderedDict[int, RoomState], number: int, each: RoomState) -> None:
        known = kept.pop(number, None)
        if known is not None:
            self._entries -= len(known.entries) + 1
        kept[number] = each
        self._entries += len(each.entries) + 1
        while self._entries > _MAX_ENTRIES and len(self._before) + len(self._after) > 1:
            oldest = self._before if len(self._before) > len(self._after) else self._after
            _, dropped = oldest.popitem(last=False)
            self._entries -= len(dropped.entries) + 1


def changes_between(
    before: Mapping[StateKey, StateEntry], after: Mapping[StateKey, StateEntry]
) -> dict[StateKey, StateEntry | None]:
    """Return which keys one state has otherwise than another, and as what; None: not at all."""
    changes: dict[StateKey, StateEntry | None] = {}
    if before is after:
        return changes
    for key, entry in after.items():
        known = before.get(key)
        if known is None or known.event_nid != entry.event_nid:
            changes[key] = entry
    changes.update((key, None) for key in before.keys() - after.keys())
    return changes


def _distinct(states: Sequence[RoomState]) -> list[RoomState]:
    by_snapshot: dict[int | None, RoomState] = {}
    for each in states:
        by_snapshot.setdefault(each.state_nid, each)
    return list(by_snapshot.values())
