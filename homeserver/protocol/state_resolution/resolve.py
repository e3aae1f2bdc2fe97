"""The steps of a state resolution, between which the caller loads what the next one needs.

    conflict = plan(state_sets, rules)              is_settled? Then `unconflicted` is the result.
    graph = …                                       of graph_roots(conflict, rules)
    undecided = undecided_events(conflict, graph)   usually none
    shared = …                                      those that unconflicted events are built on
    replayed = events_to_replay(conflict, graph, rules, undecided - shared)
    events = …                                      those of `replayed`
    events |= …                                     those of supporting_events(…, events)
    resolve(conflict, replayed, …)

`resolve_loaded` takes all the steps at once where everything is in memory.
Everything is pure, and equal for equal states however they are ordered. A replayed event costs
about 30 µs: many hundreds of them are work for a thread.
"""

from collections.abc import Container, Mapping, Sequence
from collections.abc import Set as AbstractSet

from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey, StateMap
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.room_versions import RoomVersionRules, StateResolution
from homeserver.protocol.state_resolution.auth_checks import (
    POWER_LEVELS,
    AuthChecks,
    create_events,
    required_state,
)
from homeserver.protocol.state_resolution.auth_graph import (
    AuthGraph,
    conflicted_subgraph,
    graph_of,
    shared_events,
    undecided_events,
)
from homeserver.protocol.state_resolution.plan import EventKey, Plan, plan
from homeserver.protocol.state_resolution.v1 import resolve_v1
from homeserver.protocol.state_resolution.v2 import resolve_v2


def graph_roots(conflict: Plan[EventKey], rules: RoomVersionRules) -> frozenset[EventKey]:
    """Return the events of which the graph must have the whole auth chains.

    Empty for version 1 of the algorithm, which has no use for a graph.
    """
    if rules.state_resolution is StateResolution.V1:
        return frozenset()
    current = conflict.unconflicted.get(POWER_LEVELS)
    mainline = frozenset[EventKey]() if current is None else frozenset((current,))
    return conflict.conflicted_events | mainline


def events_to_replay(
    conflict: Plan[EventKey],
    graph: AuthGraph[EventKey],
    rules: RoomVersionRules,
    difference: AbstractSet[EventKey],
) -> frozenset[EventKey]:
    """Return the full conflicted set; in version 1 of the algorithm the conflicted events.

    `difference` is the auth difference, with or without conflicted events: `undecided_events`
    without those of them that are in the auth chain of some unconflicted event.
    """
    replayed = conflict.conflicted_events | difference
    if rules.state_resolution is StateResolution.V2_1:
        return replayed | conflicted_subgraph(conflict, graph)
    return replayed


def supporting_events(
    conflict: Plan[EventKey],
    graph: AuthGraph[EventKey],
    rules: RoomVersionRules,
    replayed: Mapping[EventKey, Event],
) -> frozenset[EventKey]:
    """Return the further events that judging the replayed ones takes."""
    needed = set(create_events(conflict))
    starts_empty = rules.state_resolution is StateResolution.V2_1
    for key, event in replayed.items():
        needed.update(graph.auth_events.get(key, ()))
        if not starts_empty:
            needed.update(_unconflicted_support(conflict, event, rules))
    return frozenset(needed - replayed.keys())


def resolve(
    conflict: Plan[EventKey],
    replayed: AbstractSet[EventKey],
    *,
    graph: AuthGraph[EventKey],
    events: Mapping[EventKey, Event],
    rules: RoomVersionRules,
    rejected: Container[EventKey] = frozenset(),
) -> dict[StateKey, EventKey]:
    """Resolve a plan into one state.

    `events` has at least the replayed and the supporting events, all of this room. One that is
    missing does not take part, so that a lost event does not make the room unusable for good;
    the caller knows what it could not load. `rejected` holds at least the rejected ones of
    the auth events: those are not used to judge others. Replayed events are judged anew, rejected
    or not. Spec: rooms/v2/#rejected-events
    """
    if rules.state_resolution is StateResolution.V1:
        return resolve_v1(conflict, events, AuthChecks(conflict, rules, events))
    return resolve_v2(
        conflict,
        replayed,
        starts_empty=rules.state_resolution is StateResolution.V2_1,
        graph=graph,
        events=events,
        checks=AuthChecks(conflict, rules, events, graph, rejected),
    )


def resolve_loaded(
    state_sets: Sequence[StateMap[EventID]],
    events: Mapping[EventID, Event],
    rules: RoomVersionRules,
    *,
    rejected: Container[EventID] = frozenset(),
) -> dict[StateKey, EventID]:
    """Resolve states of which all events and their auth chains are at hand."""
    conflict = plan(state_sets, rules)
    graph = graph_of(events.values())
    undecided = undecided_events(conflict, graph)
    shared = shared_events(conflict, graph, undecided)
    replayed = events_to_replay(conflict, graph, rules, undecided - shared)
    return resolve(conflict, replayed, graph=graph, events=events, rules=rules, rejected=rejected)


def _unconflicted_support(
    conflict: Plan[EventKey], event: Event, rules: RoomVersionRules
) -> set[EventKey]:
    try:
        required = required_state(event, rules)
    except AuthRefusal:
        return set()
    return {conflict.unconflicted[key] for key in required if key in conflict.unconflicted}
