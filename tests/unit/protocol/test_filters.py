import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.filters import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_PATTERNS,
    CompiledFilter,
    EventFilter,
    EventMatcher,
    Filter,
    InvalidFilter,
    TypePatterns,
    parse_filter,
    parse_room_event_filter,
)
from homeserver.protocol.identifiers import RoomID, UserID

ALICE, BOB = UserID("@alice:example.org"), UserID("@bob:example.org")
ROOM, OTHER_ROOM = RoomID("!room:example.org"), RoomID("!other:example.org")

# The example of client-server-api/#post_matrixclientv3useruseridfilter
SPEC_EXAMPLE = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {
            "types": ["m.receipt", "m.typing"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
}


def a_matcher(**members):
    return EventMatcher(parse_room_event_filter(members))


def test_the_example_of_the_specification_filters_as_it_says():
    compiled = CompiledFilter(parse_filter(json.dumps(SPEC_EXAMPLE).encode()))
    assert compiled.timeline_limit == 10
    assert compiled.timeline.matches("m.room.message", ALICE)
    assert not compiled.timeline.matches("m.room.message", "@spam:example.com")
    assert not compiled.timeline.matches("m.room.name", ALICE)
    assert not compiled.timeline.admits_room(RoomID("!726s6s6q:example.com"))
    assert compiled.state.matches("m.room.topic", ALICE)
    assert compiled.ephemeral.matches("m.typing")
    assert not compiled.presence.matches("m.presence", "@alice:example.com")
    assert compiled.room_account_data.matches_everything
    assert compiled.account_data.matches_everything
    assert compiled.event_fields is not None
    assert compiled.event_fields.select({"type": "x", "event_id": "$x"}) == {"type": "x"}


def test_without_a_filter_everything_passes():
    compiled = CompiledFilter(parse_filter({}))
    assert compiled.filter == Filter()
    assert compiled.admits_room(ROOM)
    assert compiled.timeline.matches_everything
    assert not compiled.timeline.matches_nothing
    assert compiled.timeline.matches("any", ALICE, has_url=True, rel_type="m.thread")
    assert compiled.timeline_limit == DEFAULT_LIMIT
    assert compiled.event_fields is None
    assert not compiled.lazy_load_members
    assert not compiled.include_redundant_members
    assert not compiled.unread_thread_notifications


@pytest.mark.parametrize(
    "source",
    [
        [],
        {"account_data": "text"},
        {"presence": []},
        {"room": {"timeline": None}},
        {"event_format": "other"},
        {"event_fields": "type"},
        {"event_fields": [1]},
        {"event_fields": ["a" + ".a" * 100]},
        {"presence": {"limit": "10"}},
        {"presence": {"limit": -1}},
        {"presence": {"limit": True}},
        {"presence": {"senders": ["@bar;example.org"]}},
        {"presence": {"not_senders": ["alice"]}},
        {"presence": {"senders": None}},
        {"presence": {"types": "m.presence"}},
        {"room": {"rooms": ["#alias:example.org"]}},
        {"room": {"not_rooms": [7]}},
        {"room": {"include_leave": "yes"}},
        {"room": {"timeline": {"rooms": ["room"]}}},
        {"room": {"timeline": {"not_rooms": ["@a:b"]}}},
        {"room": {"timeline": {"contains_url": 1}}},
        {"room": {"timeline": {"related_by_senders": ["x"]}}},
        {"room": {"state": {"lazy_load_members": 1}}},
        {"room": {"ephemeral": {"senders": [""]}}},
        {"room": {"account_data": {"rooms": [""]}}},
        {"account_data": {"types": ["*"] * (MAX_PATTERNS + 1) + ["*x"] * (MAX_PATTERNS + 1)}},
        {"account_data": {"not_types": ["*x"] * (MAX_PATTERNS + 1)}},
    ],
)
def test_a_filter_against_the_schema_is_refused(source):
    with pytest.raises(InvalidFilter):
        parse_filter(source)
    with pytest.raises(InvalidFilter):
        parse_filter(json.dumps(source).encode())


@pytest.mark.parametrize("source", [b"", b"{", b"[" * 100_000, b'{"a":NaN}', b"\xff", b'"x"'])
def test_what_is_not_a_json_object_is_refused_as_bad_json(source):
    with pytest.raises(InvalidJson):
        parse_filter(source)
    with pytest.raises(InvalidFilter):
        parse_room_event_filter(source)


def test_the_refusal_names_the_place():
    with pytest.raises(InvalidFilter, match=r"\$\.room\.timeline\.limit"):
        parse_filter({"room": {"timeline": {"limit": "many"}}})


def test_members_the_server_does_not_know_are_ignored():
    assert parse_filter({"presence": {"enabled": False}, "org.example": 1}) == Filter()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, DEFAULT_LIMIT), (0, 0), (7, 7), (MAX_LIMIT, MAX_LIMIT), (2**62, MAX_LIMIT)],
)
def test_the_limit_has_a_default_and_a_maximum(limit, expected):
    source = {} if limit is None else {"limit": limit}
    assert parse_room_event_filter(source).bounded_limit() == expected


def test_an_empty_list_includes_nothing():
    for name in ("types", "senders"):
        matcher = a_matcher(**{name: []})
        assert matcher.matches_nothing
        assert not matcher.matches("m.room.message", ALICE)
    assert not a_matcher(rooms=[]).admits_room(ROOM)


def test_exclusion_wins_over_inclusion():
    assert not a_matcher(senders=[ALICE], not_senders=[ALICE]).matches("x", ALICE)
    assert not a_matcher(types=["x"], not_types=["x"]).matches("x", ALICE)
    assert not a_matcher(rooms=[ROOM], not_rooms=[ROOM]).admits_room(ROOM)
    matcher = a_matcher(
        **{"org.matrix.msc3874.rel_types": ["r"], "org.matrix.msc3874.not_rel_types": ["r"]}
    )
    assert not matcher.matches("x", ALICE, rel_type="r")


def test_senders_are_told_apart():
    assert a_matcher(senders=[ALICE]).matches("x", ALICE)
    assert not a_matcher(senders=[ALICE]).matches("x", BOB)
    assert not a_matcher(not_senders=[ALICE]).matches("x", ALICE)
    assert a_matcher(not_senders=[ALICE]).matches("x", BOB)


def test_events_without_a_sender_fail_only_a_list_of_senders():
    assert a_matcher(not_senders=[ALICE], types=["m.typing"]).matches("m.typing")
    assert not a_matcher(senders=[ALICE]).matches("m.typing")


def test_rooms_are_told_apart_at_both_levels():
    compiled = CompiledFilter(
        parse_filter({"room": {"rooms": [ROOM], "timeline": {"not_rooms": [ROOM]}}})
    )
    assert compiled.admits_room(ROOM)
    assert not compiled.admits_room(OTHER_ROOM)
    assert not compiled.timeline.admits_room(ROOM)
    assert compiled.state.admits_room(ROOM)


@pytest.mark.parametrize(
    ("wanted", "has_url", "passes"),
    [
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ],
)
def test_contains_url_asks_for_or_against_a_url(wanted, has_url, passes):
    assert a_matcher(contains_url=wanted).matches("x", ALICE, has_url=has_url) is passes


def test_relation_types_of_the_event_itself():
    only = a_matcher(**{"org.matrix.msc3874.rel_types": ["m.thread"]})
    assert only.matches("x", ALICE, rel_type="m.thread")
    assert not only.matches("x", ALICE, rel_type="m.replace")
    assert not only.matches("x", ALICE)
    without = a_matcher(**{"org.matrix.msc3874.not_rel_types": ["m.thread"]})
    assert not without.matches("x", ALICE, rel_type="m.thread")
    assert without.matches("x", ALICE)


@pytest.mark.parametrize(
    ("members", "children", "passes"),
    [
        ({}, [], True),
        ({"related_by_rel_types": ["m.thread"]}, [(ALICE, "m.thread")], True),
        ({"related_by_rel_types": ["m.thread"]}, [(ALICE, "m.replace")], False),
        ({"related_by_rel_types": ["m.thread"]}, [], False),
        ({"related_by_senders": [ALICE]}, [(BOB, "m.thread"), (ALICE, "m.replace")], True),
        ({"related_by_senders": [ALICE]}, [(BOB, "m.thread")], False),
        # One and the same child has to satisfy both.
        (
            {"related_by_senders": [ALICE], "related_by_rel_types": ["m.thread"]},
            [(ALICE, "m.replace"), (BOB, "m.thread")],
            False,
        ),
    ],
)
def test_relations_pointing_at_the_event(members, children, passes):
    matcher = a_matcher(**members)
    assert matcher.needs_relations == bool(members)
    assert matcher.matches_relations(children) is passes


def test_filters_of_other_things_than_rooms_ask_for_no_relations():
    matcher = EventMatcher(EventFilter())
    assert not matcher.needs_relations
    assert matcher.matches_relations([])


def test_members_are_loaded_lazily_by_the_state_filter():
    state = {"lazy_load_members": True, "include_redundant_members": True}
    compiled = CompiledFilter(parse_filter({"room": {"state": state}}))
    assert compiled.lazy_load_members
    assert compiled.include_redundant_members


@pytest.mark.parametrize(
    "name", ["unread_thread_notifications", "org.matrix.msc3773.unread_thread_notifications"]
)
def test_unread_threads_are_asked_for_in_the_timeline_filter(name):
    compiled = CompiledFilter(parse_filter({"room": {"timeline": {name: True}}}))
    assert compiled.unread_thread_notifications


def test_a_question_mark_in_a_type_stands_for_itself():
    assert TypePatterns(["a?"]).match("a?")
    assert not TypePatterns(["a?"]).match("ab")


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("m.room.*", "m.room.", "m.room"),
        ("*.room", "m.room", "m.rooms"),
        ("m.*.invite", "m.call.invite", "m.invite"),
        ("a*b*c", "a-b-c", "a-c-c"),
        ("a*bc*c", "abcc", "abc"),
        ("**", "", None),
    ],
)
def test_a_star_stands_for_any_sequence_of_characters(pattern, matching, other):
    assert TypePatterns([pattern]).match(matching)
    assert other is None or not TypePatterns([pattern]).match(other)


@given(
    st.lists(st.text("ab.*", max_size=6), max_size=4),
    st.text("ab.", max_size=8),
)
def test_wildcards_match_as_the_regular_expressions_they_stand_for(patterns, event_type):
    expected = any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), event_type, re.DOTALL)
        for pattern in patterns
    )
    assert TypePatterns(patterns).match(event_type) == expected


def test_a_hostile_pattern_takes_no_exponential_time():
    assert not TypePatterns(["*a" * 100 + "b*c"]).match("a" * 250)
