import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID, default_rules
from homeserver.protocol.push_rules.model import (
    InvalidPushRule,
    PushRuleAnchorNotFound,
    PushRuleNotFound,
    RuleKind,
    TooManyPushRules,
)
from homeserver.protocol.push_rules.user_rules import (
    MAX_RULES,
    MAX_SINGLE_WILDCARDS,
    UserRules,
    delete_rule,
    merged,
    put_rule,
    set_actions,
    set_enabled,
)

ALICE = UserID("@alice:example.org")
DEFAULTS = default_rules(with_polls=True)
OVERRIDE, CONTENT, ROOM, UNDERRIDE = (
    RuleKind.OVERRIDE,
    RuleKind.CONTENT,
    RuleKind.ROOM,
    RuleKind.UNDERRIDE,
)


def put(user_rules, rule_id, kind=ROOM, actions=(), **options):
    body = {"actions": list(actions), "pattern": options.pop("pattern", "x")}
    return put_rule(user_rules, kind, rule_id, body, **options)


def put_all(*rule_ids, kind=ROOM):
    user_rules = UserRules()
    for rule_id in reversed(rule_ids):
        user_rules = put(user_rules, rule_id, kind)
    return user_rules


def order(user_rules, kind=ROOM):
    return [rule.rule_id for rule in user_rules.custom.of_kind(kind)]


def test_who_has_changed_nothing_has_the_defaults():
    assert merged(UserRules(), DEFAULTS) == DEFAULTS
    assert UserRules().is_default_class


def test_own_rules_come_before_the_defaults_but_after_master():
    user_rules = put(put(UserRules(), "mine", OVERRIDE), "low", UNDERRIDE)
    rules = merged(user_rules, DEFAULTS)
    assert [rule.rule_id for rule in rules.override[:3]] == [
        MASTER_RULE_ID,
        "mine",
        ".m.rule.suppress_notices",
    ]
    assert [rule.rule_id for rule in rules.underride[:2]] == ["low", ".m.rule.call"]
    assert not user_rules.is_default_class


def test_a_new_rule_is_the_most_important_and_enabled():
    user_rules = put_all("a", "b", "c")
    assert order(user_rules) == ["a", "b", "c"]
    assert all(rule.is_enabled and not rule.is_default for rule in user_rules.custom.room)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"before": "a"}, ["new", "a", "b"]),
        ({"before": "b"}, ["a", "new", "b"]),
        ({"after": "a"}, ["a", "new", "b"]),
        ({"after": "b"}, ["a", "b", "new"]),
        ({"before": "a", "after": "b"}, ["new", "a", "b"]),
    ],
)
def test_a_new_rule_is_placed_next_to_another(options, expected):
    assert order(put(put_all("a", "b"), "new", **options)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"before": "a"}, ["b", "a", "c"]),
        ({"after": "c"}, ["a", "c", "b"]),
        ({"after": "a"}, ["a", "b", "c"]),
    ],
)
def test_a_replaced_rule_keeps_its_place_unless_moved(options, expected):
    user_rules = put(put_all("a", "b", "c"), "b", actions=["notify"], **options)
    assert order(user_rules) == expected
    rule = user_rules.custom.find(ROOM, "b")
    assert rule.actions == ("notify",)


def test_a_replaced_rule_stays_disabled():
    user_rules = set_enabled(put_all("a"), DEFAULTS, ROOM, "a", is_enabled=False)
    assert not put(user_rules, "a").custom.room[0].is_enabled


@pytest.mark.parametrize("anchor", ["nobody", MASTER_RULE_ID, ".m.rule.message", "a"])
def test_a_rule_cannot_be_placed_by_a_default_a_missing_rule_or_itself(anchor):
    for option in ("before", "after"):
        with pytest.raises(PushRuleAnchorNotFound, match="before/after rule not found"):
            put(put_all("a"), "a", **{option: anchor})


def test_anchors_are_looked_for_in_the_same_kind():
    with pytest.raises(PushRuleAnchorNotFound):
        put(put_all("a"), "new", OVERRIDE, before="a")


def test_the_same_id_may_stand_in_two_kinds():
    user_rules = put(put_all("a"), "a", OVERRIDE)
    assert order(user_rules) == order(user_rules, OVERRIDE) == ["a"]


def test_a_deleted_rule_is_gone():
    user_rules = delete_rule(put_all("a", "b", "c"), ROOM, "b")
    assert order(user_rules) == ["a", "c"]
    assert delete_rule(put_all("a"), ROOM, "a").is_default_class


@pytest.mark.parametrize("rule_id", ["a", ".m.rule.message", MASTER_RULE_ID])
def test_neither_missing_rules_nor_defaults_can_be_deleted(rule_id):
    for kind in RuleKind:
        with pytest.raises(PushRuleNotFound):
            delete_rule(UserRules(), kind, rule_id)


def test_any_rule_can_be_disabled_and_enabled():
    user_rules = set_enabled(put_all("a"), DEFAULTS, ROOM, "a", is_enabled=False)
    user_rules = set_enabled(user_rules, DEFAULTS, OVERRIDE, MASTER_RULE_ID, is_enabled=True)
    user_rules = set_enabled(user_rules, DEFAULTS, UNDERRIDE, ".m.rule.call", is_enabled=False)
    rules = merged(user_rules, DEFAULTS)
    assert not rules.find(ROOM, "a").is_enabled
    assert rules.find(OVERRIDE, MASTER_RULE_ID).is_enabled
    assert not rules.find(UNDERRIDE, ".m.rule.call").is_enabled
    assert rules.find(UNDERRIDE, ".m.rule.message").is_enabled


def test_any_rules_actions_can_be_changed():
    user_rules = set_actions(put_all("a"), DEFAULTS, ROOM, "a", ["notify"])
    user_rules = set_actions(user_rules, DEFAULTS, UNDERRIDE, ".m.rule.message", ["dont_notify"])
    rules = merged(user_rules, DEFAULTS)
    assert rules.find(ROOM, "a").actions == ("notify",)
    message = rules.find(UNDERRIDE, ".m.rule.message")
    assert message.actions == ()
    assert message.is_default
    assert message.is_enabled


def test_undone_changes_lead_back_to_the_default_class():
    changed = set_enabled(UserRules(), DEFAULTS, OVERRIDE, MASTER_RULE_ID, is_enabled=True)
    changed = set_actions(changed, DEFAULTS, UNDERRIDE, ".m.rule.message", [])
    assert not changed.is_default_class
    undone = set_enabled(changed, DEFAULTS, OVERRIDE, MASTER_RULE_ID, is_enabled=False)
    undone = set_actions(undone, DEFAULTS, UNDERRIDE, ".m.rule.message", ["notify"])
    assert undone.is_default_class


def test_rules_that_are_not_there_cannot_be_changed():
    with pytest.raises(PushRuleNotFound):
        set_enabled(UserRules(), DEFAULTS, ROOM, "a", is_enabled=True)
    # A default rule in another kind is not there either.
    with pytest.raises(PushRuleNotFound):
        set_actions(UserRules(), DEFAULTS, ROOM, MASTER_RULE_ID, ["notify"])


def test_wrong_actions_are_refused():
    with pytest.raises(InvalidPushRule):
        set_actions(put_all("a"), DEFAULTS, ROOM, "a", [7])


def test_a_change_of_a_default_that_no_longer_exists_is_forgotten_in_silence():
    old = UserRules(enabled={".m.rule.gone": False}, actions={".m.rule.gone": ("notify",)})
    assert merged(old, DEFAULTS) == DEFAULTS


def test_the_number_of_rules_is_limited():
    full = UserRules(
        custom=put_all("a").custom.with_kind(ROOM, put_all("a").custom.room * MAX_RULES)
    )
    with pytest.raises(TooManyPushRules):
        put(full, "one more", CONTENT)


def test_the_number_of_question_marks_is_limited_over_all_rules():
    user_rules = put(UserRules(), "a", CONTENT, pattern="?" * MAX_SINGLE_WILDCARDS)
    condition = {"kind": "event_match", "key": "content.x", "pattern": "?"}
    with pytest.raises(TooManyPushRules):
        put_rule(user_rules, OVERRIDE, "b", {"actions": [], "conditions": [condition]})


def test_the_rules_of_a_user_can_be_stored_as_json():
    user_rules = put_all("a", "b")
    user_rules = put_rule(
        user_rules,
        OVERRIDE,
        "c",
        {
            "actions": ["notify", {"set_tweak": "sound", "value": "x"}],
            "conditions": [{"kind": "event_match", "key": "a", "pattern": "b"}],
        },
    )
    user_rules = set_enabled(user_rules, DEFAULTS, ROOM, "a", is_enabled=False)
    user_rules = set_enabled(user_rules, DEFAULTS, OVERRIDE, MASTER_RULE_ID, is_enabled=True)
    user_rules = set_actions(user_rules, DEFAULTS, UNDERRIDE, ".m.rule.call", [{"a": 1}])
    assert msgspec.json.decode(msgspec.json.encode(user_rules), type=UserRules) == user_rules
    assert msgspec.json.encode(UserRules()) == b"{}"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from("abcd") | st.none(),
            st.sampled_from("abcd") | st.none(),
        ),
        max_size=12,
    )
)
def test_rules_stand_where_the_last_put_said(puts):
    user_rules, model = UserRules(), []
    for rule_id, before, after in puts:
        anchor = before or after
        others = [name for name in model if name != rule_id]
        if anchor is not None and anchor not in others:
            with pytest.raises(PushRuleAnchorNotFound):
                put(user_rules, rule_id, before=before, after=after)
            continue
        user_rules = put(user_rules, rule_id, before=before, after=after)
        if before:
            others.insert(others.index(before), rule_id)
            model = others
        elif after:
            others.insert(others.index(after) + 1, rule_id)
            model = others
        elif rule_id not in model:
            model = [rule_id, *model]
        assert order(user_rules) == model
