"""State resolution as slow and obvious as the definitions: the model for the real one.

It works on sets that are written out in full, walks recursively, and knows nothing of prefetching.
The authorization rules are the real ones.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence

from homeserver.protocol.auth_rules.check import check_state_dependent
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.create import room_creation
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.room_versions import RoomVersionRules, StateResolution

State = dict[StateKey, EventID]
Events = Mapping[EventID, Event]


def resolve(
    states: Sequence[State],
    events: Events,
    rules: RoomVersionRules,
    rejected: Container[EventID] = (),
) -> State:
    if rules.state_resolution is StateResolution.V1:
        return _resolve_v1(states, events, rules)
    return _Version2(states, events, rules, rejected).resolve()


def auth_chain(event_id: EventID, events: Events) -> set[EventID]:
    chain: set[EventID] = set()
    for cited in events[event_id].auth_events:
        chain |= {cited} | auth_chain(cited, events)
    return chain


def is_allowed(event: Event, state: Mapping[StateKey, Event], rules: RoomVersionRules) -> bool:
    try:
        check_state_dependent(event, state, rules)
    except AuthRefusal:
        return False
    return True


def key_of(event: Event) -> StateKey:
    assert event.state_key is not None
    return (event.type, event.state_key)


class _Version2:
    def __init__(
        self,
        states: Sequence[State],
        events: Events,
        rules: RoomVersionRules,
        rejected: Container[EventID],
    ) -> None:
        self.states = states
        self.events = events
        self.rules = rules
        self.rejected = rejected
        self.is_v2_1 = rules.state_resolution is StateResolution.V2_1

    def resolve(self) -> State:
        keys = {key for state in self.states for key in state}
        unconflicted = {
            key: self.states[0][key]
            for key in keys
            if all(state.get(key, "none") == self.states[0].get(key) for state in self.states)
        }
        conflicted = {
            state[key] for state in self.states for key in state if key not in unconflicted
        }
        full = conflicted | self.auth_difference()
        if self.is_v2_1:
            full |= self.subgraph(conflicted)
        power_events = {event_id for event_id in full if self.is_power_event(event_id)}
        selected = set(power_events)
        for event_id in power_events:
            selected |= self.chain_within(event_id, full)
        partial: State = {} if self.is_v2_1 else dict(unconflicted)
        partial = self.auth_checks(partial, self.power_order(selected))
        levels = partial.get(("m.room.power_levels", ""))
        remaining = sorted(
            full - selected, key=lambda event_id: self.mainline_key(event_id, levels)
        )
        return {**self.auth_checks(partial, remaining), **unconflicted}

    def auth_difference(self) -> set[EventID]:
        chains = []
        for state in self.states:
            chain = set(state.values())
            for event_id in state.values():
                chain |= auth_chain(event_id, self.events)
            chains.append(chain)
        return set.union(*chains) - set.intersection(*chains)

    def subgraph(self, conflicted: set[EventID]) -> set[EventID]:
        above = {
            event_id: {event_id} | auth_chain(event_id, self.events) for event_id in self.events
        }
        return {
            event_id
            for event_id in self.events
            if any(event_id in above[start] for start in conflicted)
            and any(end in above[event_id] for end in conflicted)
        }

    def is_power_event(self, event_id: EventID) -> bool:
        event = self.events[event_id]
        removes = event.content.get("membership") in ("leave", "ban")
        return event.type in ("m.room.power_levels", "m.room.join_rules") or (
            event.type == "m.room.member" and removes and event.sender != event.state_key
        )

    def chain_within(self, event_id: EventID, full: set[EventID]) -> set[EventID]:
        chain: set[EventID] = set()
        for cited in self.events[event_id].auth_events:
            if cited in full:
                chain |= {cited} | self.chain_within(cited, full)
        return chain

    def power_order(self, selected: set[EventID]) -> list[EventID]:
        ordered: list[EventID] = []
        while len(ordered) < len(selected):
            ready = [
                event_id
                for event_id in selected - set(ordered)
                if set(self.events[event_id].auth_events) & selected <= set(ordered)
            ]
            ordered.append(min(ready, key=self.power_key))
        return ordered

    def power_key(self, event_id: EventID) -> tuple[int, int, str]:
        event = self.events[event_id]
        cited = self.cited(event, ())
        content = None
        if ("m.room.power_levels", "") in cited:
            content = cited[("m.room.power_levels", "")].content
        level = 0
        if ("m.room.create", "") in cited:
            creation = room_creation(cited[("m.room.create", "")], self.rules)
            level = parse_power_levels(creation, content, self.rules).of_user(event.sender)
        return (-level, event.origin_server_ts, event_id)

    def cited(self, event: Event, rejected: Container[EventID]) -> dict[StateKey, Event]:
        """The state events by which an event was authorized when it was made."""
        cited = [self.events[auth] for auth in event.auth_events if auth not in rejected]
        if self.rules.room_id_is_create_hash:
            cited.append(self.events[EventID("$" + event.room_id[1:])])
        return {key_of(auth): auth for auth in cited}

    def auth_checks(self, state: State, ordered: Iterable[EventID]) -> State:
        state = dict(state)
        for event_id in ordered:
            event = self.events[event_id]
            needed = select_auth_events(
                event.type, event.sender, event.state_key, event.content, self.rules
            )
            cited = self.cited(event, self.rejected)
            seen = {
                key: auth for key, auth in cited.items() if key in [*needed, ("m.room.create", "")]
            }
            seen |= {key: self.events[state[key]] for key in needed if key in state}
            if is_allowed(event, seen, self.rules):
                state[key_of(event)] = event_id
        return state

    def power_levels_above(self, event_id: EventID) -> list[EventID]:
        for cited in self.events[event_id].auth_events:
            if key_of(self.events[cited]) == ("m.room.power_levels", ""):
                return [cited, *self.power_levels_above(cited)]
        return []

    def mainline_key(self, event_id: EventID, levels: EventID | None) -> tuple[float, int, str]:
        mainline = [] if levels is None else [levels, *self.power_levels_above(levels)]
        on_mainline = [above for above in self.power_levels_above(event_id) if above in mainline]
        position = mainline.index(on_mainline[0]) if on_mainline else float("inf")
        return (-position, self.events[event_id].origin_server_ts, event_id)


def _resolve_v1(states: Sequence[State], events: Events, rules: RoomVersionRules) -> State:
    candidates: dict[StateKey, list[EventID]] = {}
    for key in {key for state in states for key in state}:
        distinct = {state[key] for state in states if key in state}
        candidates[key] = sorted(
            distinct,
            key=lambda event_id: (
                events[event_id].depth,
                -int(hashlib.sha1(event_id.encode()).hexdigest(), 16),
            ),
        )
    resolved = {key: found[0] for key, found in candidates.items() if len(found) == 1}
    conflicts = {key: found for key, found in candidates.items() if len(found) > 1}

    def allowed(event_id: EventID, state: State) -> bool:
        return is_allowed(events[event_id], {k: events[v] for k, v in state.items()}, rules)

    auth_types = ("m.room.power_levels", "m.room.join_rules", "m.room.member")
    for auth_type in auth_types:
        before = dict(resolved)
        for key, found in conflicts.items():
            if key[0] == auth_type:
                chosen = found[0]
                for event_id in found[1:]:
                    if not allowed(event_id, {**before, key: chosen}):
                        break
                    chosen = event_id
                resolved[key] = chosen
    final = dict(resolved)
    for key, found in conflicts.items():
        if key[0] not in auth_types:
            passing = [event_id for event_id in found if allowed(event_id, resolved)]
            final[key] = passing[-1] if passing else found[0]
    return final
