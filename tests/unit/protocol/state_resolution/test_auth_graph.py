"""The sets of the definitions, on arbitrary graphs of numbers, cycles and gaps included."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.state_resolution.auth_graph import (
    AuthGraph,
    conflicted_subgraph,
    shared_events,
    undecided_events,
)
from homeserver.protocol.state_resolution.plan import Plan, plan

DEPTH = 10_000

graphs = st.dictionaries(st.integers(0, 15), st.lists(st.integers(0, 15), max_size=4), max_size=16)
states = st.lists(
    st.dictionaries(
        st.sampled_from([("t", str(number)) for number in range(5)]), st.integers(0, 15), max_size=5
    ),
    min_size=2,
    max_size=4,
)
quick = settings(max_examples=300, deadline=None, database=None)
A, B = ("t", "0"), ("t", "1")


@quick
@given(edges=graphs, start=st.integers(0, 15))
def test_what_an_event_reaches_is_closed_and_minimal(
    edges: dict[int, list[int]], start: int
) -> None:
    reached = _graph(edges).reach([start])
    assert start in reached
    assert all(auth in reached for event in reached for auth in edges.get(event, ()))
    cited = {auth for event in reached for auth in edges.get(event, ())}
    assert reached == cited | {start}


@quick
@given(edges=graphs, state_sets=states)
@example(edges={1: [3], 2: [3]}, state_sets=[{A: 1}, {A: 2}])
@example(edges={1: [3], 2: [4]}, state_sets=[{A: 1}, {A: 2}])
@example(edges={1: [3], 2: [4], 5: [3]}, state_sets=[{A: 1, B: 5}, {A: 2, B: 5}])
@example(edges={1: [3], 2: [3, 4], 4: [5]}, state_sets=[{A: 1}, {A: 2}, {A: 2, B: 1}])
def test_the_auth_difference_is_the_union_less_the_intersection(
    edges: dict[int, list[int]], state_sets: list[dict[tuple[str, str], int]]
) -> None:
    graph = _graph(edges)
    planned = plan(state_sets, rules_of("12"))
    undecided = undecided_events(planned, graph)
    difference = undecided - shared_events(planned, graph, undecided)

    chains = [graph.reach(state.values()) for state in state_sets]
    expected = set.union(*chains) - set.intersection(*chains)
    assert difference | planned.conflicted_events == expected | planned.conflicted_events


@quick
@given(edges=graphs, state_sets=states)
def test_the_subgraph_is_everything_between_two_conflicted_events(
    edges: dict[int, list[int]], state_sets: list[dict[tuple[str, str], int]]
) -> None:
    graph = _graph(edges)
    planned = plan(state_sets, rules_of("12"))
    conflicted = planned.conflicted_events
    expected = {
        event
        for event in graph.reach(conflicted)
        if not graph.reach([event]).isdisjoint(conflicted)
    }
    assert conflicted_subgraph(planned, graph) == expected


def test_events_that_unconflicted_state_is_built_on_are_found_without_its_graph() -> None:
    """0 is the create event, 1 the power levels, 2 and 3 conflicted, 4 an older membership."""
    planned = Plan(
        unconflicted={("m.room.create", ""): 0, ("m.room.power_levels", ""): 1},
        conflicted={("m.room.topic", ""): frozenset({2, 3})},
        conflicted_in=(frozenset({2}), frozenset({3})),
    )
    graph = _graph({1: [0], 2: [1, 0], 3: [4, 0], 4: [0]})
    assert undecided_events(planned, graph) == {4}


def test_power_levels_are_found_among_the_auth_events() -> None:
    graph = AuthGraph(auth_events={3: [0, 2, 1]}, power_levels={1, 2})
    assert graph.power_levels_of(3) == 2
    assert graph.power_levels_of(2) is None


def test_a_very_deep_chain_is_walked() -> None:
    planned = Plan(
        unconflicted={("m.room.create", ""): 0},
        conflicted={("m.room.topic", ""): frozenset({1, DEPTH})},
        conflicted_in=(frozenset({1}), frozenset({DEPTH})),
    )
    graph = _graph({event: [event - 1] for event in range(1, DEPTH + 1)})
    assert undecided_events(planned, graph) == set(range(2, DEPTH))
    assert conflicted_subgraph(planned, graph) == set(range(1, DEPTH + 1))


def _graph(edges: dict[int, list[int]]) -> AuthGraph[int]:
    return AuthGraph(auth_events=edges, power_levels=frozenset())
