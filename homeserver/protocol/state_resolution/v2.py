"""State resolution of room versions 2 to 11 (v2) and from 12 on (v2.1).

Spec: rooms/v2/#state-resolution, rooms/v12/#state-resolution

Where the text can be read in two ways, this is what servers in the rooms do, because what
matters is that all arrive at the same state:
- The auth chain of a state includes the events of the state. So an unconflicted event is not
  in the auth difference because events of only some states cite it.
- "In the auth chain of P" and "the DAG formed by auth events" mean the paths that stay within
  the full conflicted set.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.state_resolution.auth_checks import POWER_LEVELS, AuthChecks
from homeserver.protocol.state_resolution.auth_graph import AuthGraph
from homeserver.protocol.state_resolution.ordering import (
    mainline_order,
    reverse_topological_power_order,
)
from homeserver.protocol.state_resolution.plan import EventKey, Plan


def resolve_v2(
    plan: Plan[EventKey],
    full_conflicted_set: AbstractSet[EventKey],
    *,
    starts_empty: bool,
    graph: AuthGraph[EventKey],
    events: Mapping[EventKey, Event],
    checks: AuthChecks[EventKey],
) -> dict[StateKey, EventKey]:
    """Merge the states of a plan. Conflicted events that `events` lacks do not take part.

    `starts_empty` makes it v2.1.
    """
    known = {key for key in full_conflicted_set if key in events and events[key].is_state}
    # 1. "Select the set X of all power events that appear in the full conflicted set. For each
    #    such power event P, enlarge X by adding the events in the auth chain of P which also
    #    belong to the full conflicted set. Sort X into a list using the reverse topological
    #    power ordering."
    between = graph.within(known)
    selected = between.reach(key for key in known if is_power_event(events[key]))
    power_events = reverse_topological_power_order(
        between.within(selected), events, checks.sender_level
    )
    # 2. "Apply the iterative auth checks algorithm, starting from the unconflicted state map",
    #    since version 12 "starting from an empty state map".
    state = {} if starts_empty else dict(plan.unconflicted)
    _apply(power_events, state, events, checks)
    # 3. "Take all remaining events that weren't picked in step 1 and order them by the mainline
    #    ordering based on the power level in the partially resolved state"
    remaining = known.difference(power_events)
    others = mainline_order(remaining, state.get(POWER_LEVELS), graph, events)
    # 4. "Apply the iterative auth checks algorithm on the partial resolved state and the list
    #    of events from the previous step."
    _apply(others, state, events, checks)
    # 5. "Update the result by replacing any event with the event with the same key from the
    #    unconflicted state map, if such an event exists"
    state.update(plan.unconflicted)
    return state


def is_power_event(event: Event) -> bool:
    """Whether a state event might remove someone's ability to do something in the room."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return True
    return event.membership in ("leave", "ban") and event.sender != event.state_key


def _apply(
    ordered: Iterable[EventKey],
    state: dict[StateKey, EventKey],
    events: Mapping[EventKey, Event],
    checks: AuthChecks[EventKey],
) -> None:
    """Run the iterative auth checks algorithm on `state`."""
    for key in ordered:
        if checks.allows(key, state):
            event = events[key]
            assert event.state_key is not None
            state[(event.type, event.state_key)] = key
