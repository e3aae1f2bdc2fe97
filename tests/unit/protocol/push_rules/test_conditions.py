import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.conditions import (
    RoomFacts,
    UserFacts,
    compile_condition,
    is_room_mention,
    literal_event_match,
    mentioned_users,
    never,
)
from homeserver.protocol.push_rules.model import Condition

ALICE = UserID("@alice:example.org")


@pytest.fixture
def holds(push_event, room_facts):
    """Asks one condition of one event."""

    def ask(condition, content=None, user=None, room=None, **event):
        test = compile_condition(Condition(condition))
        return test(push_event(content, **event), room or room_facts(), user)

    return ask


def match(key, pattern):
    return {"kind": "event_match", "key": key, "pattern": pattern}


def prop(key, value):
    return {"kind": "event_property_is", "key": key, "value": value}


def contains(key, value):
    return {"kind": "event_property_contains", "key": key, "value": value}


# client-server-api/#conditions-1, the examples of event_match
@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("Lunch plans", True),
        ("LUNCH", True),
        (" lunch", False),
        ("lunc", False),
        (None, False),
    ],
)
def test_event_match_is_a_glob_on_the_whole_value(holds, topic, expected):
    assert holds(match("content.topic", "lunc?*"), {"topic": topic}) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("An example event.", True),
        ("exple", True),
        ("An exciting triple-whammy", True),
        ("unexample", False),
        ("examples", False),
        (["example"], False),
    ],
)
def test_event_match_of_the_body_is_on_whole_words(holds, body, expected):
    assert holds(match("content.body", "ex*ple"), {"body": body}) is expected


def test_event_match_of_the_body_needs_word_boundaries_without_wildcards_too(holds):
    assert holds(match("content.body", "cake"), {"body": "I like CAKE!"})
    assert not holds(match("content.body", "cake"), {"body": "cupcakes"})
    assert holds(match("content.body", "@room"), {"body": "hey@room"})


def test_event_match_never_matches_what_is_absent_or_no_string(holds):
    for content in ({}, {"n": 1}, {"n": None}, {"n": {"a": "b"}}, {"n": ["x"]}, {"n": True}):
        assert not holds(match("content.n", "*"), content)
        assert not holds(match("content.n", "x"), content)


def test_event_match_without_wildcards_ignores_case(holds):
    assert holds(match("content.msgtype", "M.Notice"), {"msgtype": "m.noticE"})
    assert not holds(match("content.msgtype", "m.notice"), {"msgtype": "m.notices"})


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("type", "m.room.message"),
        ("room_id", "!room:example.org"),
        ("sender", "@bob:*"),
        ("event_id", "$e*"),
        ("state_key", ""),
        ("redacts", "$x"),
        (r"content.m\.relates_to.rel_type", "m.thread"),
        ("content.a.b.c", "deep"),
    ],
)
def test_event_match_reaches_every_property(holds, key, pattern):
    content = {"m.relates_to": {"rel_type": "m.thread"}, "a": {"b": {"c": "deep"}}}
    assert holds(match(key, pattern), content, state_key="", redacts="$x")


def test_a_state_key_that_is_not_there_matches_nothing(holds):
    assert not holds(match("state_key", ""))
    assert not holds(match("redacts", "*"))


@pytest.mark.parametrize("key", ["content", "", "type.x", "origin_server_ts", "depth", "unsigned"])
def test_properties_that_are_no_strings_or_unknown_to_clients_match_nothing(holds, key):
    assert not holds(match(key, "*"))


def test_a_number_of_the_event_itself_can_be_compared(holds):
    assert holds(prop("origin_server_ts", 1_700_000_000_000))


@pytest.mark.parametrize("value", ["x", "", 1, 0, -5, 2**53 - 1, True, False, None])
def test_event_property_is_compares_exactly(holds, value):
    assert holds(prop("content.v", value), {"v": value})
    assert holds(contains("content.v", value), {"v": [[], {}, value]})


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (True, 1), (1, True), (0, False), (False, 0), (1, 1.0), (0, None), (None, False),
        ("1", 1), (True, "true"), ("x", "X"), ("", None),
    ],
)  # fmt: skip
def test_event_property_is_casts_no_types(holds, expected, actual):
    assert not holds(prop("content.v", expected), {"v": actual})
    assert not holds(contains("content.v", expected), {"v": [actual]})


def test_an_absent_property_is_not_null(holds):
    assert not holds(prop("content.v", None), {})
    assert not holds(contains("content.v", None), {})


def test_event_property_contains_wants_an_array(holds):
    assert not holds(contains("content.v", "a"), {"v": "a"})
    assert not holds(contains("content.v", "a"), {"v": {"a": 1}})
    # The example of the specification.
    aliases = ["#somewhere:example.org", "#myroom:example.com"]
    assert holds(contains("content.v", "#myroom:example.com"), {"v": aliases})
    assert not holds(contains("content.v", ":example.com"), {"v": aliases})


@pytest.mark.parametrize(
    ("body", "name", "expected"),
    [
        ("hi Alice!", "Alice", True),
        ("hi ALICE", "alice", True),
        ("malice", "Alice", False),
        ("malice, Alice", "Alice", True),
        ("alices", "Alice", False),
        ("a*b", "*", True),
        ("ab", "*", False),
        ("(._.)", "(._.)", True),
        ("hi", "", False),
        ("hi", None, False),
        (5, "hi", False),
    ],
)
def test_contains_display_name_takes_the_name_literally(holds, body, name, expected):
    user = UserFacts(ALICE, name)
    assert holds({"kind": "contains_display_name"}, {"body": body}, user) is expected


def test_contains_display_name_matches_nothing_for_nobody(holds):
    assert not holds({"kind": "contains_display_name"}, {"body": "None"})


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("2", {2}),
        ("==2", {2}),
        ("<2", {0, 1}),
        (">2", {3, 4}),
        ("<=2", {0, 1, 2}),
        (">=2", {2, 3, 4}),
        ("007", {7} & set(range(5))),
    ],
)
def test_room_member_count_compares(holds, room_facts, text, matching):
    for count in range(5):
        is_match = holds({"kind": "room_member_count", "is": text}, room=room_facts(count))
        assert is_match == (count in matching)


@pytest.mark.parametrize(
    "text", ["", "=2", "=>2", "two", "-1", "+1", " 2", "2 ", "2.0", "٢", "9" * 5000, 2, None]
)
def test_a_malformed_member_count_matches_nothing(text):
    assert compile_condition(Condition({"kind": "room_member_count", "is": text})) is never


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "room_member_count", "is": "<100"},
        {"kind": "sender_notification_permission", "key": "room"},
    ],
)
def test_nothing_is_known_of_a_room_that_is_only_known_by_an_invite(holds, condition):
    assert not holds(condition, room=RoomFacts(member_count=None, power_levels=None))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({}, False),  # 0 is below the default of 50
        ({"users": {"@bob:example.org": 50}}, True),
        ({"users": {"@bob:example.org": 49}}, False),
        ({"notifications": {"room": 0}}, True),
        ({"notifications": {"room": 51}, "users": {"@bob:example.org": 50}}, False),
        ({"notifications": "odd", "users_default": 50}, True),
    ],
)
def test_sender_notification_permission_asks_the_power_levels(holds, room_facts, levels, expected):
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert holds(condition, room=room_facts(power_levels=levels)) is expected


def test_a_creator_of_a_version_12_room_may_always_notify(holds, room_facts):
    room = room_facts(power_levels={"notifications": {"room": 2**53 - 1}}, version="12")
    assert holds({"kind": "sender_notification_permission", "key": "room"}, room=room)


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "org.example.unknown"},
        {"kind": "event_match"},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "key": 1, "pattern": "x"},
        {"kind": "event_match", "key": "type", "pattern": None},
        {"kind": "event_property_is", "key": "type"},
        {"kind": "event_property_is", "value": "x"},
        {"kind": "event_property_is", "key": "type", "value": ["x"]},
        {"kind": "event_property_is", "key": "type", "value": {}},
        {"kind": "event_property_is", "key": "type", "value": 1.5},
        {"kind": "event_property_is", "key": "type", "value": 2**53},
        {"kind": "event_property_contains", "key": "type"},
        {"kind": "event_property_contains", "key": [], "value": "x"},
        {"kind": "event_property_contains", "key": "type", "value": 1e3},
        {"kind": "sender_notification_permission"},
        {"kind": "sender_notification_permission", "key": None},
    ],
)  # fmt: skip
def test_unknown_and_malformed_conditions_match_nothing(holds, condition):
    assert compile_condition(Condition(condition)) is never
    assert not holds(condition)


def test_the_owner_is_the_user_for_whom_is_evaluated(push_event, room_facts):
    mention = Condition(
        {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids"}, "value"
    )
    target = Condition({"kind": "event_match", "key": "state_key"}, "pattern")
    other = Condition({"kind": "event_match", "key": "sender"}, "pattern")
    event = push_event({"m.mentions": {"user_ids": [ALICE]}}, state_key=ALICE)
    for condition, expected in ((mention, True), (target, True), (other, False)):
        test = compile_condition(condition)
        assert test(event, room_facts(), UserFacts(ALICE)) is expected
        assert not test(event, room_facts(), UserFacts(UserID("@Alice:example.org")))
        assert not test(event, room_facts(), None)


@pytest.mark.parametrize(
    ("mentions", "users", "is_room"),
    [
        ({"user_ids": [ALICE, ALICE, "@b:c"]}, {ALICE, "@b:c"}, False),
        ({"user_ids": [1, None, [ALICE], {"a": 1}]}, set(), False),
        ({"user_ids": ALICE}, set(), False),
        ({"user_ids": {ALICE: 1}}, set(), False),
        ({"room": True}, set(), True),
        ({"room": 1}, set(), False),
        ({"room": "true"}, set(), False),
        ([ALICE], set(), False),
        (None, set(), False),
    ],
)
def test_mentions_are_read_whatever_they_look_like(mentions, users, is_room):
    content = {"m.mentions": mentions}
    assert mentioned_users(content) == users
    assert is_room_mention(content) is is_room


def test_without_mentions_nobody_is_mentioned():
    assert mentioned_users({}) == frozenset()
    assert not is_room_mention({})


@pytest.mark.parametrize(
    ("condition", "literal"),
    [
        (match("type", "M.Room"), "m.room"),
        (match("type", "m.*"), None),
        (match("type", "m.?"), None),
        (match("sender", "x"), None),
        ({"kind": "event_match", "key": "type"}, None),
        (prop("type", "m.room"), None),
    ],
)
def test_only_plain_patterns_are_literals(condition, literal):
    assert literal_event_match(Condition(condition), "type") == literal


def test_a_hostile_pattern_on_a_long_body_ends(holds):
    body = "a" * 60_000
    assert not holds(match("content.body", "*a" * 200 + "b"), {"body": body})
    assert not holds(match("content.body", "?a" * 30 + "b"), {"body": body})
    assert not holds({"kind": "contains_display_name"}, {"body": body}, UserFacts(ALICE, "aa"))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
json_values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
)


@given(
    kind=st.sampled_from(
        [
            "event_match",
            "event_property_is",
            "event_property_contains",
            "contains_display_name",
            "room_member_count",
            "sender_notification_permission",
        ]
    ),
    members=st.dictionaries(st.sampled_from(["key", "pattern", "value", "is"]), json_values),
    key=st.sampled_from(["content", "content.body", "content.a.b", r"content.m\.mentions", "type"]),
    content=st.dictionaries(st.sampled_from(["body", "a", "m.mentions", "room"]), json_values),
)
def test_no_condition_on_any_content_ever_raises(
    push_event, room_facts, kind, members, key, content
):
    for condition in ({"kind": kind} | members, {"kind": kind, "key": key} | members):
        test = compile_condition(Condition(condition))
        event = push_event(content)
        assert test(event, room_facts(), UserFacts(ALICE, "Alice")) in (True, False)
        json.dumps(sorted(event.mentioned_users))
