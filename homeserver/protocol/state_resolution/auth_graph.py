"""The auth graph of a room, and the sets that version 2 of the algorithm takes from it.

All walks are loops over sets, so that a chain may be as deep as it likes, and a cycle (which
only versions 1 and 2 with their server-chosen event IDs allow) ends like anything else.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.state_resolution.plan import EventKey, Plan


class AuthGraph(msgspec.Struct, Generic[EventKey], frozen=True):
    """`auth_events` of events, and which of them are the power levels of the room.

    An event that `auth_events` lacks counts as one without auth events.
    """

    auth_events: Mapping[EventKey, Sequence[EventKey]]
    power_levels: AbstractSet[EventKey]

    def power_levels_of(self, event: EventKey) -> EventKey | None:
        """Return the `m.room.power_levels` event in the `auth_events` of an event."""
        cited = self.auth_events.get(event, ())
        return next((auth for auth in cited if auth in self.power_levels), None)

    def reach(self, starts: Iterable[EventKey]) -> set[EventKey]:
        """Return the events and everything in their auth chains."""
        frontier = set(starts)
        reached = set(frontier)
        while frontier:
            cited = set[EventKey]().union(*[self.auth_events.get(event, ()) for event in frontier])
            frontier = cited - reached
            reached |= frontier
        return reached

    def within(self, events: AbstractSet[EventKey]) -> "AuthGraph[EventKey]":
        """Return the part of the graph that lies between the given events, and no others."""
        return AuthGraph(
            auth_events={
                event: [auth for auth in self.auth_events.get(event, ()) if auth in events]
                for event in events
            },
            power_levels=self.power_levels & events,
        )


def graph_of(events: Iterable[Event]) -> AuthGraph[EventID]:
    """Build the graph of events at hand."""
    known = list(events)
    return AuthGraph(
        auth_events={event.event_id: event.auth_events for event in known},
        power_levels={
            event.event_id
            for event in known
            if event.type == "m.room.power_levels" and event.state_key == ""
        },
    )


def undecided_events(plan: Plan[EventKey], graph: AuthGraph[EventKey]) -> frozenset[EventKey]:
    """Return what is in the auth difference unless unconflicted state has it in its auth chain.

    `graph` need only cover the conflicted events. Usually nothing is undecided: both sides
    of most conflicts cite events that are unconflicted state themselves, or above it.
    """
    chain = graph.reach(plan.conflicted_events)
    # Unconflicted events are part of every state, so every state has their auth chains.
    agreed = graph.reach(chain.intersection(plan.unconflicted.values()))
    reached_from = _states_reaching(plan, graph, agreed)
    all_states = (1 << len(plan.conflicted_in)) - 1
    partly = {event for event, states in reached_from.items() if states != all_states}
    return frozenset(partly - plan.conflicted_events)


def shared_events(
    plan: Plan[EventKey], graph: AuthGraph[EventKey], undecided: AbstractSet[EventKey]
) -> AbstractSet[EventKey]:
    """Return those of the undecided events that are in the auth chain of unconflicted state.

    `graph` must cover all unconflicted events; a caller who can ask a database does without.
    """
    if not undecided:
        return undecided
    return undecided & graph.reach(plan.unconflicted.values())


def conflicted_subgraph(plan: Plan[EventKey], graph: AuthGraph[EventKey]) -> set[EventKey]:
    """Return the conflicted state subgraph: what lies between two conflicted events, and they.

    Spec: rooms/v12/#definitions
    """
    conflicted = plan.conflicted_events
    citing: dict[EventKey, list[EventKey]] = {}
    for event in graph.reach(conflicted):
        for auth_event in graph.auth_events.get(event, ()):
            citing.setdefault(auth_event, []).append(event)
    upwards = AuthGraph(auth_events=citing, power_levels=frozenset[EventKey]())
    return upwards.reach(conflicted)


def _states_reaching(
    plan: Plan[EventKey], graph: AuthGraph[EventKey], agreed: AbstractSet[EventKey]
) -> dict[EventKey, int]:
    """Map conflicted events, and what they reach outside of `agreed`, to the states (bit n: the
    nth) whose chain has it.

    One walk for all states: what their chains share is visited once or twice, not once each.
    """
    reached_from: dict[EventKey, int] = {}
    for index, events in enumerate(plan.conflicted_in):
        for event in events:
            reached_from[event] = reached_from.get(event, 0) | 1 << index
    pending = list(reached_from)
    while pending:
        event = pending.pop()
        states = reached_from[event]
        for auth_event in graph.auth_events.get(event, ()):
            before = reached_from.get(auth_event, 0)
            if before | states != before and auth_event not in agreed:
                reached_from[auth_event] = before | states
                pending.append(auth_event)
    return reached_from
