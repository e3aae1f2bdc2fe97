"""Judging again what was accepted on a partial state, when the whole state is known.

While members are omitted, an event's own auth events say what the state does not: that hides the
bans and kicks of before the join. So the checks on receipt are made up for.
Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead, StateEntry
from homeserver.rooms.receive.judge import Judge
from homeserver.rooms.receive.known import KnownEvents, is_extremity_material
from homeserver.rooms.receive.states import EMPTY, RoomState, RoomStates
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.rows import snapshot_row
from homeserver.storage.event_writes import REJECTED, SOFT_FAILED, SnapshotWrite
from homeserver.storage.judged_anew import MemberRow, Since, Undoing
from homeserver.storage.log import LoggedStateChange
from homeserver.storage.received_events import EventFacts
from homeserver.storage.state import SnapshotLink
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# The parent of a snapshot of height n has the height n - lowbit(n): from this height on a billion
# snapshots have the first one as their ancestor, and none repeats a large room's whole state.
ROOT_HEIGHT: Final = 1 << 30
# Events that are in memory at once.
_MAX_EVENTS: Final = 200


class Course:
    """What is known of a room at one event after the other, from a join on.

    `before_join` is the partial state before it, `omitted` what that lacks.
    """

    def __init__(
        self,
        before_join: RoomState,
        omitted: Mapping[StateKey, StateEntry],
        join_key: StateKey,
        join: StateEntry,
    ) -> None:
        self.current: dict[StateKey, StateEntry] = {
            **before_join.entries,
            **omitted,
            join_key: join,
        }
        self.omitted = omitted
        self.join_key, self.join = join_key, join
        # The position of the last event that was judged.
        self.position = 0
        self.own_nids = {join.event_nid}
        # Those of them that came late: of forks, or of before the join.
        self.older_nids: set[int] = set()
        self.changes: defaultdict[int, list[LoggedStateChange]] = defaultdict(list)
        self.flags: dict[int, int] = {}
        self.failed_ids: dict[EventID, int] = {}
        # By the undone event: its key, and what has the key instead.
        self.replaced: dict[int, tuple[StateKey, StateEntry | None]] = {}
        # Keys with another history than the stored one, by number.
        self.touched: dict[int, StateKey] = {}
        self.history: list[tuple[int, int, int | None]] = []
        # In the order of the timeline.
        self.failed: list[Event] = []
        self._followed: set[EventID] = set()

    def extend(self, since: Since) -> None:
        """Take what is to be judged next."""
        self.own_nids.update(facts.event_nid for _, facts in since.events)
        for change in since.changes:
            self.changes[change.pos].append(change)

    def follows_join(self, state: Mapping[StateKey, StateEntry]) -> bool:
        """Whether a stored state is of after the join: then it lacks what was omitted."""
        entry = state.get(self.join_key)
        return entry is not None and entry.event_nid in self.own_nids

    def fail(self, pos: int, event: Event, facts: EventFacts, flag: int) -> None:
        """Go past an event that is not accepted, and changes nothing."""
        self.position = pos
        self.flags[facts.event_nid] = flag
        self.failed.append(event)
        self.failed_ids[facts.event_id] = flag
        if facts.state_key is not None:
            key = (facts.type, facts.state_key)
            self.replaced[facts.event_nid] = (key, self.current.get(key))
        for change in self.changes[pos]:
            self.touched[change.key_nid] = (change.type, change.state_key)

    def go_past(self, pos: int, event: Event) -> None:
        """Go past an accepted event, with what it has changed."""
        self.position = pos
        self._followed.update(event.prev_events)
        for change in self.changes[pos]:
            key = (change.type, change.state_key)
            if self._is_wrong(key, change):
                self.touched[change.key_nid] = key
                nid = change.event_nid
                if nid is not None and nid in self.own_nids and nid not in self.replaced:
                    self.replaced[nid] = (key, self.current.get(key))
                continue
            self.history.append((change.key_nid, pos, change.event_nid))
            if change.event_nid is None:
                self.current.pop(key, None)
                continue
            assert change.event_id is not None
            self.current[key] = StateEntry(
                change.key_nid, change.event_nid, EventID(change.event_id), change.membership
            )

    def covered(self) -> set[EventID]:
        """Return what accepted events follow, some of it by way of undone ones."""
        found = {*self._followed}
        for event in reversed(self.failed):
            if event.event_id in found:
                found.update(event.prev_events)
        return found

    def _is_wrong(self, key: StateKey, change: LoggedStateChange) -> bool:
        if change.event_nid in self.flags:
            return True
        # It is older than what was omitted, but nothing newer was known.
        nid = change.event_nid
        return key in self.omitted and (nid not in self.own_nids or nid in self.older_nids)


class _Corrected(Mapping[StateKey, StateEntry]):
    """A stored state with what was omitted, and without what was undone."""

    def __init__(self, stored: Mapping[StateKey, StateEntry], course: Course) -> None:
        self._stored, self._course = stored, course

    def __getitem__(self, key: StateKey) -> StateEntry:
        entry = self._stored.get(key)
        if entry is None:
            return self._course.omitted[key]
        _, entry = self._course.replaced.get(entry.event_nid, (key, entry))
        if entry is None:
            raise KeyError(key)
        return entry

    def __iter__(self) -> Iterator[StateKey]:
        return (key for key in {**self._course.omitted, **self._stored} if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class JudgeAnew:
    """Judges events in the order of the timeline; finds out what is to be undone."""

    def __init__(
        self,
        known: KnownEvents,
        judge: Judge,
        states: RoomStates,
        cache: EventCache,
        row_numbers: RowNumbers,
    ) -> None:
        self._known = known
        self._judge = judge
        self._states = states
        self._cache = cache
        self._row_numbers = row_numbers

    async def go_on(self, head: RoomHead, course: Course, since: Since) -> None:
        """Judge what was accepted `since` the last event of a course, or since the join."""
        course.extend(since)
        stored: tuple[int | None, RoomState] = (None, EMPTY)
        for start in range(0, len(since.events), _MAX_EVENTS):
            part = since.events[start : start + _MAX_EVENTS]
            events = await self._cache.get([facts.event_nid for _, facts in part])
            for pos, facts in part:
                event = events[facts.event_nid]
                # Of events that follow each other most have the same state before them.
                if stored[0] != facts.state_nid:
                    stored = (facts.state_nid, await self._states.before(facts))
                before: Mapping[StateKey, StateEntry] = stored[1].entries
                # What does not follow the join has a state that somebody has told whole.
                if course.follows_join(before):
                    before = _Corrected(before, course)
                else:
                    course.older_nids.add(facts.event_nid)
                flag = await self._verdict(head, event, before, course)
                if flag:
                    log.warning(
                        "event undone", event_id=event.event_id, sender=event.sender, flag=flag
                    )
                    course.fail(pos, event, facts, flag)
                else:
                    course.go_past(pos, event)

    async def _verdict(
        self, head: RoomHead, event: Event, before: Mapping[StateKey, StateEntry], course: Course
    ) -> int:
        """Return the flag of an event that is rejected or soft-failed, 0 for an accepted one."""
        cited = await self._judge.cited(event)
        if cited is None:
            return 0
        rejected = {each for each, flag in course.failed_ids.items() if flag & REJECTED}
        cited = cited._replace(rejected=cited.rejected | rejected)
        # A member event may be unknown still: its signature could not be verified.
        supplement = [each for each in cited.events if each.event_id not in course.failed_ids]
        refusal = await self._judge.by_auth_events(event, cited, head)
        refusal = refusal or await self._judge.by_state(event, before, head, supplement)
        if refusal is not None:
            return REJECTED
        refusal = await self._judge.by_state(event, course.current, head, supplement)
        return SOFT_FAILED if refusal is not None else 0

    async def corrections(
        self, head: RoomHead, course: Course, ends: Sequence[int]
    ) -> Undoing | None:
        """Return what is wrong in a room with these extremities. None: nothing."""
        if not course.flags and not course.touched:
            return None
        held = {nid: course.current.get(key) for nid, key in course.touched.items()}
        return Undoing(
            flags=course.flags,
            replacements={
                nid: entry.event_nid if entry else 0 for nid, (_, entry) in course.replaced.items()
            },
            key_nids=list(course.touched),
            history=[each for each in course.history if each[0] in course.touched],
            current={nid: entry.event_nid for nid, entry in held.items() if entry},
            members=await self._members(course),
            extremities=await self._extremities(course, ends),
            snapshot=await self._snapshot(head, course) if course.touched else None,
        )

    async def _members(self, course: Course) -> list[MemberRow]:
        """Return the memberships as they are; who has none has left, by the join."""
        users = {
            key[1]: course.current.get(key)
            for key in course.touched.values()
            if key[0] == "m.room.member"
        }
        nids = {user_id: (entry or course.join).event_nid for user_id, entry in users.items()}
        events = await self._cache.get(nids.values())
        return [
            MemberRow(
                user_id,
                (entry.membership if entry else None) or "leave",
                nids[user_id],
                events[nids[user_id]].sender,
            )
            for user_id, entry in users.items()
        ]

    async def _extremities(self, course: Course, ends: Sequence[int]) -> list[int]:
        """Return the ends of the room: before those that are undone, what they follow."""
        left = {nid for nid in ends if nid not in course.flags}
        pending = [nid for nid in ends if nid in course.flags]
        seen, covered = set(pending), course.covered()
        while pending:
            undone_nid = pending.pop()
            undone = (await self._cache.get([undone_nid]))[undone_nid]
            for event_id, facts in (await self._known.facts(undone.prev_events)).items():
                nid = facts.event_nid
                if nid in course.flags or facts.flags & (REJECTED | SOFT_FAILED):
                    if nid not in seen:
                        seen.add(nid)
                        pending.append(nid)
                elif is_extremity_material(facts) and event_id not in covered:
                    left.add(nid)
        return sorted(left) or [course.join.event_nid]

    async def _snapshot(self, head: RoomHead, course: Course) -> SnapshotWrite:
        delta = {entry.key_nid: entry.event_nid for entry in course.current.values()}
        link = SnapshotLink(await self._row_numbers.state(), ROOT_HEIGHT, delta)
        return snapshot_row(link, head.room_nid, None)
