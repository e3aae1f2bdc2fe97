"""The algorithms agree with the slow model of the definitions, in any order of their input."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.identifiers import EventID
from homeserver.protocol.state_resolution.resolve import resolve_loaded
from tests.unit.protocol.state_resolution import model
from tests.unit.protocol.state_resolution.random_rooms import RandomRoom, Step, steps
from tests.unit.protocol.state_resolution.room_files import rules_for

each_algorithm = pytest.mark.parametrize(
    ("algorithm", "version"),
    [("v1", "1"), ("v2", "6"), ("v2", "11"), ("v2.1", "11"), ("v2.1", "12")],
)
thorough = settings(max_examples=150, deadline=None, database=None)


@each_algorithm
@thorough
@given(played=steps, chosen=st.sets(st.integers(0, 40)))
def test_random_rooms_resolve_as_in_the_model(
    algorithm: str, version: str, played: list[Step], chosen: set[int]
) -> None:
    room = RandomRoom(rules_for(algorithm, version))
    room.play(played)
    rejected = _chosen_events(room, chosen)
    for states in (room.forks[:2], room.forks, room.forks[:1]):
        expected = model.resolve(states, room.events, room.rules, rejected)
        resolved = resolve_loaded(states, room.events, room.rules, rejected=rejected)
        assert resolved == expected


@each_algorithm
@thorough
@given(played=steps, random=st.randoms(use_true_random=False))
def test_the_order_of_states_and_of_their_entries_does_not_matter(
    algorithm: str, version: str, played: list[Step], random: Random
) -> None:
    room = RandomRoom(rules_for(algorithm, version))
    room.play(played)
    expected = resolve_loaded(room.forks, room.events, room.rules)
    states = [_shuffled(fork, random) for fork in [*room.forks, room.forks[0]]]
    random.shuffle(states)
    assert resolve_loaded(states, _shuffled(room.events, random), room.rules) == expected


def _chosen_events(room: RandomRoom, chosen: set[int]) -> set[EventID]:
    return {event_id for index, event_id in enumerate(room.events) if index in chosen}


def _shuffled(mapping, random):
    entries = list(mapping.items())
    random.shuffle(entries)
    return dict(entries)
