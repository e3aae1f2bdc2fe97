"""The reverse topological power ordering and the mainline ordering."""

from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.state_resolution.auth_graph import AuthGraph
from homeserver.protocol.state_resolution.ordering import (
    mainline_order,
    reverse_topological_power_order,
)

DEPTH = 10_000


def test_auth_events_come_before_what_cites_them_whatever_their_rank() -> None:
    graph = _graph({1: [2], 2: [3], 3: []})
    assert reverse_topological_power_order(graph, _events(1, 2, 3), lambda _: 0) == [3, 2, 1]


def test_greater_power_comes_first_then_earlier_time_then_lesser_id() -> None:
    events = {
        1: _event("$b", ts=1),
        2: _event("$a", ts=1),
        3: _event("$c", ts=0),
        4: _event("$d", ts=9),
    }
    levels = {1: 0, 2: 0, 3: 0, 4: 50}
    ordered = reverse_topological_power_order(
        _graph({4: [], 3: [], 2: [], 1: []}), events, levels.__getitem__
    )
    assert ordered == [4, 3, 2, 1]


def test_an_event_that_becomes_free_competes_with_those_still_waiting() -> None:
    # 2 has the greatest power but waits for 1; 3 and 4 are free.
    levels = {1: 50, 2: 100, 3: 60, 4: 40}
    graph = _graph({1: [], 2: [1], 3: [], 4: []})
    ordered = reverse_topological_power_order(graph, _events(1, 2, 3, 4), levels.__getitem__)
    assert ordered == [3, 1, 2, 4]


def test_an_auth_event_cited_twice_counts_once() -> None:
    graph = _graph({1: [2, 2], 2: []})
    assert reverse_topological_power_order(graph, _events(1, 2), lambda _: 0) == [2, 1]


def test_events_on_and_above_a_cycle_are_left_out() -> None:
    graph = _graph({1: [2], 2: [1], 3: [1], 4: [], 5: [4], 6: [6]})
    ordered = reverse_topological_power_order(graph, _events(1, 2, 3, 4, 5, 6), lambda _: 0)
    assert ordered == [4, 5]


@settings(deadline=None, database=None)
@given(
    edges=st.lists(st.sets(st.integers(0, 11)), max_size=12),
    ranks=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=12, max_size=12),
)
def test_the_order_is_the_smallest_choice_at_each_step(
    edges: list[set[int]], ranks: list[tuple[int, int]]
) -> None:
    auth_events = {
        key: sorted(cited for cited in citeds if cited < key) for key, citeds in enumerate(edges)
    }
    events = {key: _event(f"${key:02}", ts=ranks[key][1]) for key in auth_events}
    ordered = reverse_topological_power_order(
        _graph(auth_events), events, lambda key: ranks[key][0]
    )

    waiting = set(auth_events)
    for key in ordered:
        free = [other for other in waiting if waiting.isdisjoint(auth_events[other])]
        assert key == min(free, key=lambda other: (-ranks[other][0], ranks[other][1], other))
        waiting.remove(key)
    assert not waiting


def test_a_very_deep_chain_is_ordered() -> None:
    graph = _graph({key: [key - 1] if key else [] for key in range(DEPTH)})
    events = _events(*range(DEPTH))
    ordered = reverse_topological_power_order(graph, events, lambda _: 0)
    assert ordered == list(range(DEPTH))


def test_events_on_older_power_levels_come_first() -> None:
    # Mainline 30, 20, 10; 25 is a side branch from 20. 9 cites no power levels at all.
    graph = _graph(
        {30: [20], 20: [10], 25: [20], 1: [30], 2: [25], 3: [20], 4: [10], 5: [25], 9: []},
        power_levels={10, 20, 25, 30},
    )
    times = {1: 0, 2: 3, 3: 2, 4: 8, 5: 1, 9: 9}
    events = {key: _event(f"${key}", ts=ts) for key, ts in times.items()}
    assert mainline_order([1, 2, 3, 4, 5, 9], 30, graph, events) == [9, 4, 5, 3, 2, 1]


def test_on_the_same_mainline_position_time_and_then_the_event_id_decide() -> None:
    graph = _graph({1: [10], 2: [10], 3: [10]}, power_levels={10})
    events = {1: _event("$z", ts=5), 2: _event("$a", ts=5), 3: _event("$m", ts=4)}
    assert mainline_order([1, 2, 3], 10, graph, events) == [3, 2, 1]


def test_without_power_levels_time_alone_decides() -> None:
    graph = _graph({1: [10], 2: []}, power_levels={10})
    events = {1: _event("$1", ts=1), 2: _event("$2", ts=2)}
    assert mainline_order([2, 1], None, graph, events) == [1, 2]


def test_power_levels_themselves_stand_where_the_ones_they_cite_stand() -> None:
    graph = _graph({20: [10], 10: [], 1: [10]}, power_levels={10, 20})
    events = {20: _event("$20", ts=5), 1: _event("$1", ts=6), 10: _event("$10", ts=7)}
    # 10 cites none: it comes first although it is the latest.
    assert mainline_order([1, 10, 20], 20, graph, events) == [10, 20, 1]


def test_a_cycle_of_power_levels_is_off_the_mainline() -> None:
    graph = _graph({1: [30], 30: [31], 31: [30], 2: [20]}, power_levels={20, 30, 31})
    events = {1: _event("$1", ts=9), 2: _event("$2", ts=1)}
    assert mainline_order([1, 2], 20, graph, events) == [1, 2]


def test_a_mainline_that_is_a_cycle_ends() -> None:
    graph = _graph({20: [30], 30: [20], 1: [20], 2: [30]}, power_levels={20, 30})
    assert mainline_order([1, 2], 20, graph, _events(1, 2)) == [2, 1]


def test_a_very_long_mainline_is_walked() -> None:
    graph = _graph({key: [key - 1] for key in range(1, DEPTH)}, power_levels=set(range(DEPTH)))
    off_mainline = _graph(
        {**graph.auth_events, **{-key: [1 - key] for key in range(2, DEPTH)}, -1: []},
        power_levels={*range(DEPTH), *range(-DEPTH, 0)},
    )
    events = {DEPTH: _event("$a", ts=5), -DEPTH: _event("$b", ts=6)}
    edges = {**off_mainline.auth_events, DEPTH: [DEPTH - 2], -DEPTH: [1 - DEPTH]}
    whole = _graph(edges, power_levels=off_mainline.power_levels)
    assert mainline_order([DEPTH, -DEPTH], DEPTH - 1, whole, events) == [-DEPTH, DEPTH]


def _graph(edges, power_levels=frozenset()) -> AuthGraph[int]:
    return AuthGraph(auth_events=edges, power_levels=power_levels)


def _events(*keys: int) -> dict[int, Event]:
    return {key: _event(f"${key}") for key in keys}


def _event(event_id: str, ts: int = 0) -> Event:
    return Event(
        event_id=EventID(event_id),
        room_id=RoomID("!room:example.org"),
        room_version="11",
        type="m.room.topic",
        sender=UserID("@alice:example.org"),
        content={},
        origin_server_ts=ts,
        depth=1,
        prev_events=(),
        auth_events=(),
        pdu={},
        state_key="",
    )
