"""Hand-written rooms resolve to what their files say."""

import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.state_resolution.auth_graph import (
    graph_of,
    shared_events,
    undecided_events,
)
from homeserver.protocol.state_resolution.plan import plan
from homeserver.protocol.state_resolution.resolve import (
    events_to_replay,
    graph_roots,
    resolve,
    resolve_loaded,
    supporting_events,
)
from tests.unit.protocol.state_resolution import model
from tests.unit.protocol.state_resolution.room_files import (
    RoomFile,
    build_events,
    cases,
    rules_for,
    state_of,
)

each_case = pytest.mark.parametrize(
    ("room", "algorithm", "version"),
    cases(),
    ids=[f"{room.name}-{algorithm}-{version}" for room, algorithm, version in cases()],
)


@each_case
def test_a_room_resolves_as_its_story_tells(room: RoomFile, algorithm: str, version: str) -> None:
    rules = rules_for(algorithm, version)
    events = build_events(room, rules)
    states = [state_of(names, events) for names in room.states]
    expected = state_of(room.resolved[algorithm], events)
    assert resolve_loaded(states, events, rules) == expected
    assert model.resolve(states, events, rules) == expected


@each_case
def test_the_steps_name_everything_that_the_next_ones_need(
    room: RoomFile, algorithm: str, version: str
) -> None:
    """As a caller with a database goes: what no step asked for is not there."""
    rules = rules_for(algorithm, version)
    events = build_events(room, rules)
    states = [state_of(names, events) for names in room.states]

    conflict = plan(states, rules)
    assert not conflict.is_settled
    whole = graph_of(events.values())
    graph = graph_of(_only(events, whole.reach(graph_roots(conflict, rules))).values())
    undecided = undecided_events(conflict, graph)
    shared = shared_events(conflict, whole, undecided)
    replayed = events_to_replay(conflict, graph, rules, undecided - shared)
    loaded = _only(events, replayed)
    supporting = supporting_events(conflict, graph, rules, loaded)
    assert supporting.isdisjoint(loaded)
    loaded |= _only(events, supporting)
    resolved = resolve(conflict, replayed, graph=graph, events=loaded, rules=rules)

    assert resolved == state_of(room.resolved[algorithm], events)


def _only(
    events: dict[EventID, Event], keys: set[EventID] | frozenset[EventID]
) -> dict[EventID, Event]:
    return {key: events[key] for key in keys}
