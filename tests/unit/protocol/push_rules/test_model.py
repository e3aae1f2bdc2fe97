import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.model import (
    MAX_RULE_BYTES,
    InvalidPushRule,
    Rule,
    RuleKind,
    RuleSet,
    parse_actions,
    parse_rule,
)

ALICE = UserID("@alice:example.org")


def test_a_content_rule_comes_back_as_the_specification_shows_it():
    body = {"pattern": "cake*lie", "actions": ["notify"]}
    assert parse_rule(RuleKind.CONTENT, "nocake", body).to_json(RuleKind.CONTENT, ALICE) == {
        "actions": ["notify"],
        "pattern": "cake*lie",
        "rule_id": "nocake",
        "enabled": True,
        "default": False,
    }


@pytest.mark.parametrize("kind", [RuleKind.OVERRIDE, RuleKind.UNDERRIDE])
def test_conditions_come_back_as_they_were_sent_known_or_not(kind):
    conditions = [
        {"kind": "event_match", "key": "content.body", "pattern": "beer"},
        {"kind": "org.example.moon", "phase": {"full": True}},
    ]
    rule = parse_rule(kind, "r", {"actions": [], "conditions": conditions, "extra": 1})
    assert rule.to_json(kind, ALICE) == {
        "actions": [],
        "conditions": conditions,
        "rule_id": "r",
        "enabled": True,
        "default": False,
    }


@pytest.mark.parametrize("kind", [RuleKind.ROOM, RuleKind.SENDER])
def test_room_and_sender_rules_have_neither_conditions_nor_pattern(kind):
    body = {"actions": ["notify"], "conditions": [{"kind": "x"}], "pattern": "y"}
    assert set(parse_rule(kind, "!r:x", body).to_json(kind, ALICE)) == {
        "actions",
        "default",
        "enabled",
        "rule_id",
    }


def test_an_override_without_conditions_has_an_empty_list_of_them():
    rule = parse_rule(RuleKind.OVERRIDE, "all", {"actions": ["notify"]})
    assert rule.to_json(RuleKind.OVERRIDE, ALICE)["conditions"] == []


@pytest.mark.parametrize("rule_id", ["", ".m.rule.master", ".x", "a/b", "a\\b", "\0", "\ud800"])
def test_reserved_rule_ids_are_refused(rule_id):
    with pytest.raises(InvalidPushRule):
        parse_rule(RuleKind.OVERRIDE, rule_id, {"actions": []})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RuleKind.OVERRIDE, {}),
        (RuleKind.OVERRIDE, {"actions": "notify"}),
        (RuleKind.OVERRIDE, {"actions": [1]}),
        (RuleKind.OVERRIDE, {"actions": [None]}),
        (RuleKind.OVERRIDE, {"actions": [["notify"]]}),
        (RuleKind.OVERRIDE, {"actions": [], "conditions": {}}),
        (RuleKind.OVERRIDE, {"actions": [], "conditions": ["x"]}),
        (RuleKind.OVERRIDE, {"actions": [], "conditions": [{}]}),
        (RuleKind.OVERRIDE, {"actions": [], "conditions": [{"kind": 1}]}),
        (RuleKind.CONTENT, {"actions": []}),
        (RuleKind.CONTENT, {"actions": [], "pattern": 1}),
        (RuleKind.CONTENT, {"actions": [], "pattern": None}),
        (RuleKind.CONTENT, {"actions": [], "pattern": "x" * MAX_RULE_BYTES}),
    ],
)
def test_a_rule_against_the_schema_is_refused(kind, body):
    with pytest.raises(InvalidPushRule):
        parse_rule(kind, "r", body)


def test_historical_actions_are_dropped_and_unknown_ones_kept():
    actions = ["dont_notify", "notify", "coalesce", "org.example.flash", {"org.example": 1}]
    assert parse_actions(actions) == ("notify", "org.example.flash", {"org.example": 1})


@pytest.mark.parametrize("actions", [None, "notify", {"a": 1}, [3], ["x" * MAX_RULE_BYTES]])
def test_what_is_no_short_list_of_actions_is_refused(actions):
    with pytest.raises(InvalidPushRule):
        parse_actions(actions)


def test_a_rule_set_is_looked_up_by_kind_and_id():
    rule = Rule(rule_id="r", actions=())
    rules = RuleSet().with_kind(RuleKind.ROOM, (rule,))
    assert rules.find(RuleKind.ROOM, "r") is rule
    assert rules.find(RuleKind.SENDER, "r") is None
    assert list(rules.to_json(ALICE)) == ["override", "content", "room", "sender", "underride"]
