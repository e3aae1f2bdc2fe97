"""The head of a room: everything that the next event is built on, as one immutable value."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from homeserver.protocol.auth_rules.context import AuthContext, StateLookup
from homeserver.protocol.create import RoomCreation, room_creation
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.protocol.join_rules import JoinRules, parse_join_rules
from homeserver.protocol.power_levels import PowerLevels, parse_power_levels
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.storage.state import SnapshotLink

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")
HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")
GUEST_ACCESS: StateKey = ("m.room.guest_access", "")
# A change of one of these changes a parsed part of the head.
PARSED_KEYS = frozenset({CREATE, POWER_LEVELS, JOIN_RULES})


class StateEntry(NamedTuple):
    """The event that holds a state key; `membership` for member events."""

    key_nid: int
    event_nid: int
    event_id: EventID
    membership: str | None = None


class RoomHead(msgspec.Struct, frozen=True, kw_only=True):
    """A room after its newest event.

    `version` is the number of the last event built on it: the compare-and-set of a write.
    `state` is shared between heads and never changed in place. `chain` is the snapshot of the
    state with its ancestors, oldest first.
    """

    room_nid: int
    room_id: RoomID
    rules: RoomVersionRules
    version: int
    depth: int
    extremities: tuple[tuple[int, EventID], ...]
    state: Mapping[StateKey, StateEntry]
    chain: tuple[SnapshotLink, ...]
    creation: RoomCreation
    power_levels: PowerLevels
    join_rules: JoinRules
    joined: int
    invited: int
    # The joined members of this server: the same object as long as they are the same.
    local_joined: frozenset[UserID]
    notify_seq: int
    highlight_seq: int
    # Running (notify, highlight) counts of threads that were written to lately.
    threads: Mapping[int, tuple[int, int]]
    is_partial_state: bool = False

    @property
    def state_nid(self) -> int:
        """The number of the snapshot of the present state."""
        return self.chain[-1].state_nid

    def membership_of(self, user_id: str) -> str | None:
        """Return a user's present membership; None for somebody who never had one."""
        entry = self.state.get(("m.room.member", user_id))
        return entry.membership if entry else None

    def auth_context(self, get: StateLookup) -> AuthContext:
        """Return what the authorization rules judge by; `get` finds the loaded state events."""
        return AuthContext(
            rules=self.rules,
            creation=self.creation,
            power_levels=self.power_levels,
            join_rules=self.join_rules,
            get=get,
        )


def with_changes(
    head: RoomHead,
    changes: Mapping[StateKey, StateEntry | None],
    events: Mapping[StateKey, Event],
    server_name: ServerName,
) -> RoomHead:
    """Return the head with entries of its state replaced, or removed where None.

    `events` has those of the changed entries that are in `PARSED_KEYS`. `chain` stays.
    """
    state = {**head.state}
    joined, invited, local_joined = head.joined, head.invited, head.local_joined
    for key, entry in changes.items():
        replaced = state.pop(key, None)
        if entry is not None:
            state[key] = entry
        if key[0] != "m.room.member":
            continue
        before = replaced.membership if replaced else None
        now = entry.membership if entry else None
        joined += (now == "join") - (before == "join")
        invited += (now == "invite") - (before == "invite")
        local_joined = with_local_member(local_joined, key[1], now, server_name)
    parsed: dict[str, object] = {}
    creation = head.creation
    if CREATE in events:
        creation = parsed["creation"] = room_creation(events[CREATE], head.rules)
    if POWER_LEVELS in changes:
        levels = events.get(POWER_LEVELS)
        parsed["power_levels"] = parse_power_levels(
            creation, levels.content if levels else None, head.rules
        )
    if JOIN_RULES in changes:
        rules = events.get(JOIN_RULES)
        parsed["join_rules"] = parse_join_rules(rules.content if rules else None, head.rules)
    return msgspec.structs.replace(
        head, state=state, joined=joined, invited=invited, local_joined=local_joined, **parsed
    )


def with_local_member(
    local_joined: frozenset[UserID], user_id: str, membership: str | None, server_name: ServerName
) -> frozenset[UserID]:
    """Return the joined members of this server after a change of somebody's membership."""
    is_local_join = membership == "join" and user_id.endswith(f":{server_name}")
    if is_local_join == (user_id in local_joined):
        return local_joined
    return local_joined ^ {UserID(user_id)}


def with_delta(
    chain: tuple[SnapshotLink, ...], state_nid: int, delta: Mapping[int, int]
) -> tuple[tuple[SnapshotLink, ...], SnapshotLink, int | None]:
    """Return the chain of a new snapshot, the snapshot, and its parent's number.

    The parent of height n is the ancestor of height n - lowbit(n); the deltas between are merged
    into the new one. So a chain has at most log2(n) links, and a state event costs log2(n) / 2
    entries on average, however large the room is.
    """
    height = chain[-1].height + 1 if chain else 1
    parent_height = height - (height & -height)
    kept = len(chain)
    while kept and chain[kept - 1].height > parent_height:
        kept -= 1
    merged: dict[int, int] = {}
    for link in chain[kept:]:
        merged.update(link.delta)
    merged.update(delta)
    snapshot = SnapshotLink(state_nid, height, merged)
    parent_nid = chain[kept - 1].state_nid if kept else None
    return (*chain[:kept], snapshot), snapshot, parent_nid
