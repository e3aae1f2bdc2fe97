"""State resolution of room version 1. Spec: rooms/v1/#state-resolution"""

import hashlib
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Final

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.state_resolution.auth_checks import AuthChecks
from homeserver.protocol.state_resolution.plan import EventKey, Plan

# Types that affect authorization, in the order in which their conflicts are resolved.
_AUTH_TYPES: Final = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_v1(
    plan: Plan[EventKey], events: Mapping[EventKey, Event], checks: AuthChecks[EventKey]
) -> dict[StateKey, EventKey]:
    """Merge the states of a plan. Conflicted events that `events` lacks do not take part."""
    # "Start by setting R to the union of the states to be resolved, excluding any conflicting
    # events."
    resolved = dict(plan.unconflicted)
    # "First we resolve conflicts between m.room.power_levels events. … Repeat the above process
    # for conflicts between m.room.join_rules events. … m.room.member events."
    for event_type in _AUTH_TYPES:
        # The conflicts of one type do not see each other's outcome: the text gives them no order.
        resolved |= {
            key: _last_allowed(key, candidates, resolved, checks)
            for key, candidates in _conflicts(plan, events)
            if key[0] == event_type
        }
    # "No other events affect the authorisation rules …"
    return resolved | {
        key: _best_allowed(candidates, resolved, checks)
        for key, candidates in _conflicts(plan, events)
        if key[0] not in _AUTH_TYPES
    }


def _conflicts(
    plan: Plan[EventKey], events: Mapping[EventKey, Event]
) -> Iterable[tuple[StateKey, list[EventKey]]]:
    """Yield each conflict with its known events "by ascending depth then descending sha1"."""
    for state_key, conflicted in plan.conflicted.items():
        known = [key for key in conflicted if key in events]
        known.sort(key=lambda key: _sha1(events[key]), reverse=True)
        known.sort(key=lambda key: events[key].depth)
        if known:
            yield state_key, known


def _last_allowed(
    state_key: StateKey,
    candidates: list[EventKey],
    resolved: dict[StateKey, EventKey],
    checks: AuthChecks[EventKey],
) -> EventKey:
    # "Add the first event in the list to R. For each subsequent event in the list, check that
    # the event would be allowed … If it would not be allowed, stop and continue below"
    first, *subsequent = candidates
    state = ChainMap({state_key: first}, resolved)
    for key in subsequent:
        if not checks.allows(key, state):
            break
        state[state_key] = key
    return state[state_key]


def _best_allowed(
    candidates: list[EventKey],
    resolved: Mapping[StateKey, EventKey],
    checks: AuthChecks[EventKey],
) -> EventKey:
    # "… just pick the event with the highest depth and lowest sha1(event_id) that passes
    # authentication in R and add it to R."
    best_first = reversed(candidates)
    # The text does not say what happens if none passes. The servers that have version 1 rooms
    # keep the least deep one, and all servers of a room must agree.
    return next((key for key in best_first if checks.allows(key, resolved)), candidates[0])


def _sha1(event: Event) -> bytes:
    # An order that everybody agrees on, not security.
    return hashlib.sha1(event.event_id.encode(), usedforsecurity=False).digest()
