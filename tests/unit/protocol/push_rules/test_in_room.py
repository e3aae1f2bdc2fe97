import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID, default_rules
from homeserver.protocol.push_rules.evaluate import CompiledRules
from homeserver.protocol.push_rules.in_room import RulesByRoom, is_silent_in, needs_display_name
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.protocol.push_rules.user_rules import (
    UserRules,
    merged,
    put_rule,
    set_actions,
    set_enabled,
)

ALICE, BOB = UserID("@alice:example.org"), UserID("@bob:example.org")
# The room of the fixture `push_event`, and another.
ROOM, OTHER = RoomID("!room:example.org"), RoomID("!other:example.org")
DEFAULTS = default_rules(with_polls=True)
NOTIFY = {"actions": ["notify"]}


def rules_of(*changes):
    user_rules = UserRules()
    for change in changes:
        user_rules = change(user_rules)
    return user_rules


def room_rule(room_id, actions=()):
    return lambda rules: put_rule(rules, RuleKind.ROOM, room_id, {"actions": list(actions)})


def override(rule_id, *conditions, actions=(), kind=RuleKind.OVERRIDE):
    body = {"actions": list(actions), "conditions": list(conditions)}
    return lambda rules: put_rule(rules, kind, rule_id, body)


def enabled(rule_id, kind=RuleKind.OVERRIDE, *, is_enabled):
    return lambda rules: set_enabled(rules, DEFAULTS, kind, rule_id, is_enabled=is_enabled)


def without_notifications_of(*rule_ids):
    changes = [
        lambda rules, rule_id=rule_id: set_actions(rules, DEFAULTS, RuleKind.UNDERRIDE, rule_id, [])
        for rule_id in rule_ids
    ]
    return rules_of(*changes)


def match(key, pattern):
    return {"kind": "event_match", "key": key, "pattern": pattern}


def compiled(user_rules):
    return CompiledRules(merged(user_rules, DEFAULTS))


@pytest.mark.parametrize(
    "change",
    [
        room_rule(OTHER),
        override(OTHER, match("room_id", OTHER)),
        override("x", match("type", "m.room.message"), match("room_id", OTHER.upper())),
        override("x", match("room_id", ROOM), match("room_id", OTHER)),
        override("x", match("room_id", OTHER), kind=RuleKind.UNDERRIDE),
    ],
)
def test_rules_about_other_rooms_leave_the_defaults(change):
    assert RulesByRoom(rules_of(change)).in_room(ROOM).is_default_class


def test_disabled_rules_leave_the_defaults():
    rules = rules_of(room_rule(ROOM), enabled(ROOM, RuleKind.ROOM, is_enabled=False))
    assert RulesByRoom(rules).in_room(ROOM).is_default_class


@pytest.mark.parametrize(
    "change",
    [
        room_rule(ROOM),
        override("x", match("room_id", ROOM)),
        override("x", match("room_id", ROOM.upper())),
        override("x", match("room_id", "!r*")),
        override("x", match("content.body", "x")),
        enabled(MASTER_RULE_ID, is_enabled=True),
        lambda rules: put_rule(rules, RuleKind.CONTENT, "x", {**NOTIFY, "pattern": "x"}),
        lambda rules: put_rule(rules, RuleKind.SENDER, BOB, NOTIFY),
    ],
)
def test_rules_that_may_count_in_the_room_stay(change):
    rules = rules_of(change, room_rule(OTHER))
    assert RulesByRoom(rules).in_room(ROOM) == rules_of(change)


def test_rooms_that_no_rule_names_share_what_is_left():
    by_room = RulesByRoom(rules_of(room_rule(ROOM), override("x", match("content.body", "x"))))
    assert by_room.in_room(OTHER) is by_room.elsewhere
    assert by_room.in_room(ROOM) != by_room.elsewhere


def test_the_id_of_a_room_rule_is_taken_as_it_is_written():
    assert RulesByRoom(rules_of(room_rule(ROOM.upper()))).in_room(ROOM).is_default_class


def test_rules_keep_their_order():
    changes = [
        override("last"),
        override("second", match("room_id", ROOM)),
        override("first"),
    ]
    in_room = RulesByRoom(rules_of(*changes)).in_room(ROOM)
    assert [rule.rule_id for rule in in_room.custom.override] == ["first", "second", "last"]


CONDITIONS = st.lists(
    st.builds(
        match,
        st.sampled_from(["room_id", "type", "content.body", "sender"]),
        st.sampled_from([ROOM, OTHER, ROOM.upper(), "!*", "m.room.message", "hello", "*"]),
    ),
    max_size=2,
)
ACTIONS = st.sampled_from([[], ["notify"], ["notify", {"set_tweak": "highlight"}]])
CHANGES = st.lists(
    st.one_of(
        st.builds(
            lambda rule_id, conditions, actions, kind: override(
                rule_id, *conditions, actions=actions, kind=kind
            ),
            st.sampled_from("abcd"),
            CONDITIONS,
            ACTIONS,
            st.sampled_from([RuleKind.OVERRIDE, RuleKind.UNDERRIDE]),
        ),
        st.builds(room_rule, st.sampled_from([ROOM, OTHER, ROOM.upper()]), ACTIONS),
        st.builds(
            lambda is_enabled: enabled(
                ".m.rule.message", RuleKind.UNDERRIDE, is_enabled=is_enabled
            ),
            st.booleans(),
        ),
    ),
    max_size=6,
)
EVENTS = st.sampled_from(["m.room.message", "m.room.topic", "m.reaction", "m.room.encrypted"])


@given(changes=CHANGES, event_type=EVENTS, body=st.sampled_from(["hello", "x"]))
def test_what_is_left_decides_like_the_whole(push_event, room_facts, changes, event_type, body):
    rules = rules_of(*changes)
    event = push_event({"body": body}, event_type)
    left = compiled(RulesByRoom(rules).in_room(ROOM))
    whole = compiled(rules)
    assert left.evaluate(event, room_facts(), None) == whole.evaluate(event, room_facts(), None)


@pytest.mark.parametrize("kind", [RuleKind.OVERRIDE, RuleKind.UNDERRIDE])
def test_only_a_condition_on_the_display_name_needs_it(kind):
    by_name = override("x", {"kind": "contains_display_name"}, kind=kind)
    assert needs_display_name(rules_of(by_name))
    assert not needs_display_name(rules_of(override("x", match("content.body", "x"), kind=kind)))


@pytest.mark.parametrize(
    "rules",
    [
        rules_of(room_rule(ROOM)),
        rules_of(override("x", match("room_id", ROOM))),
        rules_of(override("x", match("room_id", "!room*"))),
        rules_of(enabled(MASTER_RULE_ID, is_enabled=True)),
        without_notifications_of(".m.rule.message", ".m.rule.encrypted"),
    ],
)
def test_a_muted_room_is_silent(rules):
    assert is_silent_in(compiled(rules), ROOM)


@pytest.mark.parametrize(
    "rules",
    [
        UserRules(),
        rules_of(room_rule(OTHER)),
        rules_of(room_rule(ROOM, ["notify"])),
        rules_of(override("x", match("content.body", "x"))),
        rules_of(override("x", match("type", "m.room.message"))),
        without_notifications_of(".m.rule.message"),
        without_notifications_of(".m.rule.room_one_to_one", ".m.rule.encrypted_room_one_to_one"),
    ],
)
def test_a_room_in_which_some_plain_messages_notify_is_not_silent(rules):
    assert not is_silent_in(compiled(rules), ROOM)
