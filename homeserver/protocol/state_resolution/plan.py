"""What the states to be resolved agree on, and what not."""

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import msgspec

from homeserver.protocol.event import StateKey, StateMap
from homeserver.protocol.room_versions import RoomVersionRules, StateResolution

# How the caller names an event: its event ID, or a row number that is cheaper to handle.
EventKey = TypeVar("EventKey", bound=Hashable)


class Plan(msgspec.Struct, Generic[EventKey], frozen=True):
    """The unconflicted state map, and the conflicted events by state key and by state.

    `conflicted_in` has one entry per state, in the order in which the states were given.
    """

    unconflicted: dict[StateKey, EventKey]
    conflicted: dict[StateKey, frozenset[EventKey]]
    conflicted_in: tuple[frozenset[EventKey], ...]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is in conflict, so that `unconflicted` is the resolved state."""
        return not self.conflicted

    @property
    def conflicted_events(self) -> frozenset[EventKey]:
        """The conflicted state set."""
        return frozenset[EventKey]().union(*self.conflicted_in)


def plan(state_sets: Sequence[StateMap[EventKey]], rules: RoomVersionRules) -> Plan[EventKey]:
    """Divide the states into what they agree on and what is in conflict.

    Spec: rooms/v2/#definitions; in version 1 a key that only some states have is no conflict
    (rooms/v1/#state-resolution).
    """
    unconflicted = _common_entries(state_sets)
    conflicted = _other_entries(state_sets, unconflicted)
    if rules.state_resolution is StateResolution.V1:
        for state_key, candidates in list(conflicted.items()):
            if len(candidates) == 1:
                unconflicted[state_key] = candidates.pop()
                del conflicted[state_key]
    return Plan(
        unconflicted=unconflicted,
        conflicted={key: frozenset(candidates) for key, candidates in conflicted.items()},
        conflicted_in=tuple(
            frozenset(state[key] for key in conflicted if key in state) for state in state_sets
        ),
    )


def _common_entries(state_sets: Sequence[StateMap[EventKey]]) -> dict[StateKey, EventKey]:
    common = dict(state_sets[0]) if state_sets else {}
    for state in state_sets[1:]:
        common = {key: event for key, event in common.items() if state.get(key) == event}
    return common


def _other_entries(
    state_sets: Sequence[StateMap[EventKey]], common: StateMap[EventKey]
) -> dict[StateKey, set[EventKey]]:
    others: dict[StateKey, set[EventKey]] = {}
    for state in state_sets:
        for key, event in state.items():
            if key not in common:
                others.setdefault(key, set()).add(event)
    return others
