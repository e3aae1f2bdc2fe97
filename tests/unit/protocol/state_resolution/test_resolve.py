"""What the hand-written rooms do not show: rejected, lost and hostile events, and scale."""

import msgspec
import pytest

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.state_resolution.auth_checks import AuthChecks
from homeserver.protocol.state_resolution.auth_graph import AuthGraph, graph_of, undecided_events
from homeserver.protocol.state_resolution.plan import plan
from homeserver.protocol.state_resolution.resolve import (
    events_to_replay,
    graph_roots,
    resolve,
    resolve_loaded,
    supporting_events,
)
from tests.unit.protocol.state_resolution.room_files import rules_for

ALICE, BOB = UserID("@alice:example.org"), UserID("@bob:example.net")
CAROL = UserID("@carol:example.com")
CREATE: StateKey = ("m.room.create", "")
LEVELS: StateKey = ("m.room.power_levels", "")
RULES: StateKey = ("m.room.join_rules", "")
TOPIC: StateKey = ("m.room.topic", "")
ALICE_MEMBER: StateKey = ("m.room.member", ALICE)
BOB_MEMBER: StateKey = ("m.room.member", BOB)
CAROL_MEMBER: StateKey = ("m.room.member", CAROL)

in_v2 = pytest.mark.parametrize(
    ("algorithm", "version"), [("v2", "6"), ("v2", "11"), ("v2.1", "11"), ("v2.1", "12")]
)
in_every = pytest.mark.parametrize(
    ("algorithm", "version"), [("v1", "1"), ("v2", "6"), ("v2.1", "12")]
)


class Story:
    """A public room of Alice with Bob as moderator, and what a test adds."""

    def __init__(self, algorithm: str, version: str) -> None:
        self.rules: RoomVersionRules = rules_for(algorithm, version)
        self.events: dict[EventID, Event] = {}
        users = {BOB: 50} if self.rules.privileged_creators else {ALICE: 100, BOB: 50}
        joined = {"membership": "join"}
        self.create = self.add("create", ALICE, CREATE, {"creator": ALICE})
        self.alice = self.add("alice", ALICE, ALICE_MEMBER, joined, self.create)
        auth = [self.create, self.alice]
        self.levels = self.add("levels", ALICE, LEVELS, {"users": users}, *auth)
        auth = [self.create, self.alice, self.levels]
        self.rules_event = self.add("rules", ALICE, RULES, {"join_rule": "public"}, *auth)
        auth = [self.create, self.levels, self.rules_event]
        self.bob = self.add("bob", BOB, BOB_MEMBER, joined, *auth)
        self.state = {
            (event.type, event.state_key or ""): event_id for event_id, event in self.events.items()
        }

    def add(
        self, name: str, sender: UserID, key: StateKey, content: JsonObject, *auth: EventID
    ) -> EventID:
        event_id = EventID(f"${name}")
        if self.rules.room_id_is_create_hash:
            auth = tuple(cited for cited in auth if cited != "$create")
        self.events[event_id] = Event(
            event_id=event_id,
            room_id=RoomID("!create"),
            room_version=self.rules.version,
            type=key[0],
            sender=sender,
            content=content,
            origin_server_ts=len(self.events),
            depth=len(self.events) + 1,
            prev_events=tuple(list(self.events)[-1:]),
            auth_events=auth,
            pdu={},
            state_key=key[1],
        )
        return event_id

    def topics(self) -> list[dict[StateKey, EventID]]:
        """Two states with a topic of Alice and a later one of Bob."""
        by_alice = self.add("topic_alice", ALICE, TOPIC, {}, self.create, self.levels, self.alice)
        by_bob = self.add("topic_bob", BOB, TOPIC, {}, self.create, self.levels, self.bob)
        return [self.state | {TOPIC: by_alice}, self.state | {TOPIC: by_bob}]

    def without(self, state: dict[StateKey, EventID], key: StateKey) -> dict[StateKey, EventID]:
        return {other: event_id for other, event_id in state.items() if other != key}

    def replace(self, event_id: EventID, **changes: object) -> None:
        self.events[event_id] = msgspec.structs.replace(self.events[event_id], **changes)

    def resolve(
        self, states: list[dict[StateKey, EventID]], rejected: set[EventID] = frozenset()
    ) -> dict[StateKey, EventID]:
        return resolve_loaded(states, self.events, self.rules, rejected=rejected)


@in_every
def test_states_without_conflict_resolve_to_their_common_entries(
    algorithm: str, version: str
) -> None:
    story = Story(algorithm, version)
    assert story.resolve([story.state, dict(story.state)]) == story.state
    assert story.resolve([]) == {}


@in_v2
def test_a_rejected_auth_event_does_not_stand_in_for_missing_state(
    algorithm: str, version: str
) -> None:
    story = Story(algorithm, version)
    # Both sides cite Bob's join, so it is not replayed either.
    name_key = ("m.room.name", "")
    name = story.add("name", BOB, name_key, {}, story.create, story.levels, story.bob)
    states = [story.without(state, BOB_MEMBER) | {name_key: name} for state in story.topics()]
    assert story.resolve(states)[TOPIC] == "$topic_bob"
    assert story.resolve(states, rejected={story.bob})[TOPIC] == "$topic_alice"


@in_v2
def test_a_rejected_event_is_replayed_like_any_other(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    assert story.resolve(states, rejected={EventID("$topic_bob")})[TOPIC] == "$topic_bob"


def test_a_rejected_event_of_the_state_is_used_as_it_is() -> None:
    story = Story("v2", "11")
    states = story.topics()
    assert story.resolve(states, rejected={story.bob})[TOPIC] == "$topic_bob"


@in_every
def test_a_lost_conflicted_event_does_not_take_part(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    del story.events[EventID("$topic_bob")]
    assert story.resolve(states)[TOPIC] == "$topic_alice"
    del story.events[EventID("$topic_alice")]
    assert TOPIC not in story.resolve(states)


@in_v2
def test_a_lost_auth_event_counts_as_absent(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    del story.events[story.bob]
    resolved = story.resolve(states)
    assert resolved[TOPIC] == "$topic_alice"
    assert resolved[BOB_MEMBER] == story.bob


@in_v2
def test_an_event_without_a_create_event_is_refused(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = [story.without(state, CREATE) for state in story.topics()]
    story.replace(EventID("$topic_bob"), auth_events=(story.levels, story.bob))
    if story.rules.room_id_is_create_hash:
        # Nobody names the create event any more.
        assert TOPIC not in story.resolve(states)
    else:
        assert story.resolve(states)[TOPIC] == "$topic_alice"


@in_v2
@pytest.mark.parametrize("is_bob_first", [False, True])
def test_senders_have_the_power_that_the_auth_events_of_each_event_gave_them(
    algorithm: str, version: str, is_bob_first: bool
) -> None:
    story = Story(algorithm, version)
    auth = [story.create, story.levels, story.rules_event]
    carol = story.add("carol", CAROL, CAROL_MEMBER, {"membership": "join"}, *auth)
    users = story.events[story.levels].content["users"] | {CAROL: 60}
    auth = [story.create, story.levels, story.alice]
    later = story.add("later", ALICE, LEVELS, {"users": users}, *auth)
    state = story.state | {CAROL_MEMBER: carol, LEVELS: later}

    # Carol has 60 by the later levels, Bob 50 by the earlier: his rules come last, always.
    by_bob = ("by_bob", BOB, RULES, {}, story.create, story.levels, story.bob)
    by_carol = ("by_carol", CAROL, RULES, {}, story.create, later, carol)
    added = [
        story.add(*made) for made in ([by_bob, by_carol] if is_bob_first else [by_carol, by_bob])
    ]
    states = [state | {RULES: rules} for rules in added]
    assert story.resolve(states)[RULES] == "$by_bob"

    graph = graph_of(story.events.values())
    checks = AuthChecks(plan(states, story.rules), story.rules, story.events, graph)
    expected = [50, 60] if is_bob_first else [60, 50]
    assert [checks.sender_level(rules) for rules in added] == expected


@pytest.mark.parametrize(
    ("algorithm", "version", "stays"),
    [
        # Alice's rules come last; v2 finds a create event in the unconflicted state, v2.1 none.
        ("v2", "6", "$by_alice"),
        ("v2", "11", "$by_alice"),
        ("v2.1", "11", "$by_bob"),
        # The room ID names the create event: Alice's rules come first as ever.
        ("v2.1", "12", "$by_bob"),
    ],
)
def test_a_power_event_that_cites_no_create_event_has_no_power(
    algorithm: str, version: str, stays: str
) -> None:
    story = Story(algorithm, version)
    by_alice = story.add("by_alice", ALICE, RULES, {}, story.levels, story.alice)
    by_bob = story.add("by_bob", BOB, RULES, {}, story.create, story.levels, story.bob)
    states = [story.state | {RULES: by_alice}, story.state | {RULES: by_bob}]
    assert story.resolve(states)[RULES] == stays


def test_in_version_12_a_create_event_that_only_one_state_has_is_found() -> None:
    story = Story("v2.1", "12")
    by_alice, by_bob = story.topics()
    assert story.resolve([story.without(by_alice, CREATE), by_bob])[TOPIC] == "$topic_bob"


def test_in_version_12_a_create_event_of_another_room_is_not_taken_for_the_rooms() -> None:
    story = Story("v2.1", "12")
    states = story.topics()
    other = story.add("other", ALICE, CREATE, {})
    assert TOPIC not in story.resolve([state | {CREATE: other} for state in states])


@in_v2
def test_events_that_are_no_state_are_not_replayed(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    story.replace(EventID("$topic_bob"), state_key=None)
    assert story.resolve(states)[TOPIC] == "$topic_alice"


@in_v2
def test_an_auth_event_that_is_no_state_gives_no_power(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = [story.without(state, BOB_MEMBER) for state in story.topics()]
    story.replace(story.bob, state_key=None)
    assert story.resolve(states)[TOPIC] == "$topic_alice"


@in_every
def test_supporting_events_are_named_for_malformed_events_too(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    story.replace(EventID("$topic_bob"), type="m.room.member", state_key=None)
    conflict = plan(states, story.rules)
    graph = graph_of(story.events.values())
    replayed = {key: story.events[key] for key in conflict.conflicted_events}
    needed = supporting_events(conflict, graph, story.rules, replayed)
    assert {story.create, story.alice, story.levels} <= needed


@in_v2
def test_a_cycle_of_auth_events_ends(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    content = dict(story.events[story.levels].content)
    second_id = EventID("$second")
    first = story.add("first", ALICE, LEVELS, content, story.create, second_id, story.alice)
    second = story.add("second", ALICE, LEVELS, content, story.create, first, story.alice)
    states = [story.state | {LEVELS: first}, story.state | {LEVELS: second}]
    # Neither is before the other; both follow after the power events, off any mainline.
    assert story.resolve(states)[LEVELS] == second


@pytest.mark.parametrize("algorithm", ["v2", "v2.1"])
def test_ten_thousand_power_levels_are_resolved_without_recursion(algorithm: str) -> None:
    story = Story(algorithm, "11")
    latest = story.levels
    for number in range(10_000):
        content = {"users": {ALICE: 100, BOB: 50}, "number": number}
        latest = story.add(
            f"l{number:05}", ALICE, LEVELS, content, story.create, latest, story.alice
        )
    topics = story.topics()
    states = [topics[0] | {LEVELS: latest}, topics[1]]
    resolved = story.resolve(states)
    assert resolved[LEVELS] == latest
    # Alice's topic cites the first power levels like Bob's, and is the older one.
    assert resolved[TOPIC] == "$topic_bob"


@in_every
def test_the_graph_need_only_cover_what_its_roots_reach(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    conflict = plan(story.topics(), story.rules)
    expected = {"$topic_alice", "$topic_bob", story.levels} if algorithm != "v1" else set()
    assert graph_roots(conflict, story.rules) == expected


def test_conflicted_power_levels_are_roots_by_themselves() -> None:
    story = Story("v2", "11")
    other = story.add("other", ALICE, LEVELS, {}, story.create, story.levels, story.alice)
    conflict = plan([story.state, story.state | {LEVELS: other}], story.rules)
    assert graph_roots(conflict, story.rules) == {story.levels, other}


@in_every
def test_events_may_be_named_by_numbers(algorithm: str, version: str) -> None:
    story = Story(algorithm, version)
    states = story.topics()
    number = {event_id: index for index, event_id in enumerate(story.events)}
    graph = AuthGraph(
        auth_events={
            number[event_id]: [number[auth] for auth in event.auth_events]
            for event_id, event in story.events.items()
        },
        power_levels={number[story.levels]},
    )
    events = {number[event_id]: event for event_id, event in story.events.items()}
    numbered = [{key: number[value] for key, value in state.items()} for state in states]
    conflict = plan(numbered, story.rules)
    difference = undecided_events(conflict, graph)
    replayed = events_to_replay(conflict, graph, story.rules, difference)
    resolved = resolve(conflict, replayed, graph=graph, events=events, rules=story.rules)
    assert resolved == {key: number[value] for key, value in story.resolve(states).items()}
