"""What states agree on and what is in conflict."""

import pytest

from homeserver.protocol.event import StateKey
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.state_resolution.plan import plan

NAME: StateKey = ("m.room.name", "")
TOPIC: StateKey = ("m.room.topic", "")
AVATAR: StateKey = ("m.room.avatar", "")


def test_equal_states_are_settled() -> None:
    planned = plan([{NAME: 1, TOPIC: 2}, {TOPIC: 2, NAME: 1}], rules_of("12"))
    assert planned.is_settled
    assert planned.unconflicted == {NAME: 1, TOPIC: 2}


@pytest.mark.parametrize("version", ["1", "2", "12"])
def test_no_state_and_one_state_are_settled(version: str) -> None:
    assert plan([], rules_of(version)).unconflicted == {}
    planned = plan([{NAME: 1}], rules_of(version))
    assert planned.is_settled
    assert planned.unconflicted == {NAME: 1}


@pytest.mark.parametrize("version", ["1", "2", "12"])
def test_a_key_with_different_events_is_in_conflict(version: str) -> None:
    planned = plan([{NAME: 1, TOPIC: 2}, {NAME: 1, TOPIC: 3}], rules_of(version))
    assert not planned.is_settled
    assert planned.unconflicted == {NAME: 1}
    assert planned.conflicted == {TOPIC: frozenset({2, 3})}
    assert planned.conflicted_in == (frozenset({2}), frozenset({3}))
    assert planned.conflicted_events == {2, 3}


@pytest.mark.parametrize("version", ["2", "12"])
def test_a_key_that_only_some_states_have_is_in_conflict(version: str) -> None:
    planned = plan([{NAME: 1}, {NAME: 1, TOPIC: 2}, {NAME: 1}], rules_of(version))
    assert planned.unconflicted == {NAME: 1}
    assert planned.conflicted == {TOPIC: frozenset({2})}
    assert planned.conflicted_in == (frozenset(), frozenset({2}), frozenset())


def test_in_version_1_a_key_that_only_some_states_have_is_no_conflict() -> None:
    planned = plan([{NAME: 1}, {TOPIC: 2, AVATAR: 3}, {NAME: 1, AVATAR: 4}], rules_of("1"))
    assert planned.unconflicted == {NAME: 1, TOPIC: 2}
    assert planned.conflicted == {AVATAR: frozenset({3, 4})}
    assert planned.conflicted_in == (frozenset(), frozenset({3}), frozenset({4}))


def test_the_given_states_are_not_changed() -> None:
    states = [{NAME: 1}, {NAME: 1, TOPIC: 2}]
    planned = plan(states, rules_of("1"))
    planned.unconflicted[AVATAR] = 3
    assert states == [{NAME: 1}, {NAME: 1, TOPIC: 2}]
