import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.conditions import UserFacts
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID, default_rules
from homeserver.protocol.push_rules.evaluate import (
    SILENT,
    CompiledRules,
    outcome_of,
    singled_out_users,
)
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.protocol.push_rules.user_rules import (
    UserRules,
    merged,
    put_rule,
    set_actions,
    set_enabled,
)

ALICE, BOB, CAROL = (UserID(f"@{name}:example.org") for name in ("alice", "bob", "carol"))
ROOM = "!room:example.org"
DEFAULTS = default_rules(with_polls=True)
COMPILED = CompiledRules(DEFAULTS)
NOTIFY = outcome_of(["notify"])
NOTIFY_WITH_SOUND = outcome_of(["notify", {"set_tweak": "sound", "value": "default"}])

NOTIFY_WITH_RINGING = outcome_of(["notify", {"set_tweak": "sound", "value": "ring"}])


def alices(*changes):
    """Alice's rules after some changes: functions from rules to rules."""
    user_rules = UserRules()
    for change in changes:
        user_rules = change(user_rules)
    return CompiledRules(merged(user_rules, DEFAULTS))


def rule(kind, rule_id, actions=(), **body):
    return lambda rules: put_rule(rules, kind, rule_id, {"actions": list(actions)} | body)


def condition(key, pattern):
    return {"kind": "event_match", "key": key, "pattern": pattern}


def test_a_message_notifies_everybody_without_noise(push_event, room_facts):
    outcome = COMPILED.evaluate(push_event(), room_facts(), None)
    assert outcome == NOTIFY
    assert (outcome.notify, outcome.highlight, outcome.sound) == (True, False, None)


def test_a_message_between_two_makes_a_sound(push_event, room_facts):
    outcome = COMPILED.evaluate(push_event(), room_facts(2), None)
    assert (outcome.notify, outcome.highlight, outcome.sound) == (True, False, "default")
    assert outcome.tweaks == {"sound": "default"}


@pytest.mark.parametrize(
    ("content", "event_type", "state_key", "expected"),
    [
        ({"msgtype": "m.notice", "body": "x"}, "m.room.message", None, SILENT),
        ({}, "m.reaction", None, SILENT),
        ({"m.relates_to": {"rel_type": "m.replace"}}, "m.room.message", None, SILENT),
        ({"m.relates_to": {"rel_type": "m.thread"}}, "m.room.message", None, NOTIFY),
        ({"membership": "join"}, "m.room.member", "@x:y", SILENT),
        ({}, "m.room.server_acl", "", SILENT),
        ({}, "m.room.topic", "", SILENT),
        ({}, "org.example.custom", None, SILENT),
        ({}, "m.room.encrypted", None, NOTIFY),
        ({}, "m.call.invite", None, NOTIFY_WITH_RINGING),
        ({}, "m.room.tombstone", "", outcome_of(["notify", {"set_tweak": "highlight"}])),
        ({}, "m.room.tombstone", None, SILENT),
        ({}, "org.matrix.msc3381.poll.response", None, SILENT),
        ({}, "org.matrix.msc3381.poll.start", None, NOTIFY),
        ({}, "org.matrix.msc3381.poll.end", None, NOTIFY),
    ],
)  # fmt: skip
def test_defaults_in_a_group(push_event, room_facts, content, event_type, state_key, expected):
    event = push_event(content, event_type, state_key=state_key)
    assert COMPILED.evaluate(event, room_facts(), None) == expected


@pytest.mark.parametrize(
    "event_type",
    ["m.room.encrypted", "org.matrix.msc3381.poll.start", "org.matrix.msc3381.poll.end"],
)
def test_defaults_between_two(push_event, room_facts, event_type):
    assert COMPILED.evaluate(push_event({}, event_type), room_facts(2), None) == NOTIFY_WITH_SOUND


def test_a_mention_highlights_for_the_mentioned_and_nobody_else(push_event, room_facts):
    event = push_event({"body": "hi", "m.mentions": {"user_ids": [ALICE]}})
    assert singled_out_users(event) == {ALICE}
    alice = COMPILED.evaluate(event, room_facts(), UserFacts(ALICE))
    assert (alice.notify, alice.highlight, alice.sound) == (True, True, "default")
    assert alice.tweaks == {"sound": "default", "highlight": True}
    assert COMPILED.evaluate(event, room_facts(), UserFacts(CAROL)) == NOTIFY
    assert COMPILED.evaluate(event, room_facts(), None) == NOTIFY


def test_a_mention_in_an_edit_highlights(push_event, room_facts):
    relation = {"rel_type": "m.replace", "event_id": "$x"}
    event = push_event({"m.relates_to": relation, "m.mentions": {"user_ids": [ALICE]}})
    assert COMPILED.evaluate(event, room_facts(), UserFacts(ALICE)).highlight
    assert COMPILED.evaluate(event, room_facts(), None) == SILENT


def test_an_invite_notifies_the_invited(push_event, room_facts):
    event = push_event({"membership": "invite"}, "m.room.member", state_key=ALICE)
    assert singled_out_users(event) == {ALICE}
    assert COMPILED.evaluate(event, room_facts(), UserFacts(ALICE)) == NOTIFY_WITH_SOUND
    assert COMPILED.evaluate(event, room_facts(), UserFacts(CAROL)) == SILENT
    assert COMPILED.evaluate(event, room_facts(), None) == SILENT


def test_an_ordinary_event_singles_out_nobody(push_event):
    assert singled_out_users(push_event()) == frozenset()
    assert singled_out_users(push_event({}, "m.room.topic", state_key=ALICE)) == frozenset()
    assert singled_out_users(push_event({}, "m.room.member")) == frozenset()


@pytest.mark.parametrize(("level", "highlights"), [(50, True), (49, False)])
def test_a_mention_of_the_room_needs_power(push_event, room_facts, level, highlights):
    event = push_event({"body": "hi", "m.mentions": {"room": True}})
    room = room_facts(power_levels={"users": {BOB: level}})
    assert COMPILED.evaluate(event, room, None).highlight is highlights


def test_nobody_is_notified_of_their_own_events(push_event, room_facts):
    event = push_event({"m.mentions": {"user_ids": [BOB]}})
    assert COMPILED.evaluate(event, room_facts(), UserFacts(BOB)) is SILENT


def test_master_silences_everything(push_event, room_facts):
    rules = alices(
        rule(RuleKind.OVERRIDE, "mine", ["notify"]),
        lambda r: set_enabled(r, DEFAULTS, RuleKind.OVERRIDE, MASTER_RULE_ID, is_enabled=True),
    )
    event = push_event({"body": "alice", "m.mentions": {"user_ids": [ALICE]}})
    assert rules.evaluate(event, room_facts(2), UserFacts(ALICE)) == SILENT


def test_changed_actions_of_a_default_count(push_event, room_facts):
    rules = alices(
        lambda r: set_actions(r, DEFAULTS, RuleKind.UNDERRIDE, ".m.rule.message", []),
    )
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == SILENT


def test_a_muted_room_is_silent_and_others_are_not(push_event, room_facts):
    mute = rule(RuleKind.OVERRIDE, ROOM, conditions=[condition("room_id", ROOM)])
    other = rule(RuleKind.OVERRIDE, "!o:x", conditions=[condition("room_id", "!o:x")])
    event = push_event({"body": "x", "m.mentions": {"user_ids": [ALICE]}})
    assert alices(mute).evaluate(event, room_facts(), UserFacts(ALICE)) == SILENT
    assert alices(other).evaluate(event, room_facts(), UserFacts(ALICE)).highlight


def test_a_room_rule_yields_to_mentions_but_not_to_ordinary_messages(push_event, room_facts):
    rules = alices(rule(RuleKind.ROOM, ROOM))
    mention = push_event({"body": "x", "m.mentions": {"user_ids": [ALICE]}})
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == SILENT
    assert rules.evaluate(mention, room_facts(), UserFacts(ALICE)).highlight
    assert (
        alices(rule(RuleKind.ROOM, ROOM.upper())).evaluate(
            push_event(), room_facts(), UserFacts(ALICE)
        )
        == NOTIFY
    )


def test_a_sender_rule_is_about_its_sender(push_event, room_facts):
    rules = alices(rule(RuleKind.SENDER, BOB), rule(RuleKind.SENDER, BOB.upper(), ["x"]))
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == SILENT
    assert rules.evaluate(push_event(sender=CAROL), room_facts(), UserFacts(ALICE)) == NOTIFY


def test_a_content_rule_looks_for_words_in_the_body(push_event, room_facts):
    sound = {"set_tweak": "sound", "value": "cakealarm.wav"}
    rules = alices(rule(RuleKind.CONTENT, "cake", ["notify", sound], pattern="cake"))
    user = UserFacts(ALICE)
    assert (
        rules.evaluate(push_event({"body": "Cake?"}), room_facts(), user).sound == "cakealarm.wav"
    )
    assert rules.evaluate(push_event({"body": "cakes"}), room_facts(), user) == NOTIFY


def test_kinds_are_checked_in_their_order_and_rules_in_theirs(push_event, room_facts):
    about_bob = [condition("sender", BOB)]
    steps = [
        rule(RuleKind.UNDERRIDE, "u", ["underride"], conditions=about_bob),
        rule(RuleKind.SENDER, BOB, ["sender"]),
        rule(RuleKind.ROOM, ROOM, ["room"]),
        rule(RuleKind.CONTENT, "c", ["content"], pattern="hello"),
        rule(RuleKind.OVERRIDE, "o2", ["second"], conditions=about_bob),
        rule(RuleKind.OVERRIDE, "o1", ["first"], conditions=[condition("room_id", ROOM)]),
    ]
    expected = ["underride", "sender", "room", "content", "second", "first"]
    for count, name in enumerate(expected, start=1):
        outcome = alices(*steps[:count]).evaluate(push_event(), room_facts(), UserFacts(ALICE))
        assert outcome.actions == (name,)


def test_all_conditions_must_hold(push_event, room_facts):
    rules = alices(
        rule(
            RuleKind.OVERRIDE,
            "beer",
            ["beer"],
            conditions=[
                condition("content.body", "beer"),
                {"kind": "room_member_count", "is": "<=10"},
            ],
        )
    )
    event = push_event({"body": "beer?"})
    assert rules.evaluate(event, room_facts(10), UserFacts(ALICE)).actions == ("beer",)
    assert rules.evaluate(event, room_facts(11), UserFacts(ALICE)) == NOTIFY


def test_unknown_conditions_disable_their_rule(push_event, room_facts):
    rules = alices(rule(RuleKind.OVERRIDE, "moon", ["moon"], conditions=[{"kind": "org.moon"}]))
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == NOTIFY


def test_two_conditions_on_the_type_must_both_hold(push_event, room_facts):
    conditions = [condition("type", "m.room.message"), condition("type", "m.room.name")]
    rules = alices(rule(RuleKind.OVERRIDE, "odd", ["odd"], conditions=conditions))
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == NOTIFY


def test_the_type_is_matched_whatever_its_case(push_event, room_facts):
    event = push_event({}, "M.Room.Message")
    assert COMPILED.evaluate(event, room_facts(), None) == NOTIFY


def test_a_rule_for_one_type_in_one_room_asks_for_both(push_event, room_facts):
    conditions = [condition("type", "org.x"), condition("room_id", ROOM)]
    rules = alices(rule(RuleKind.OVERRIDE, "both", ["both"], conditions=conditions))
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == NOTIFY
    event = push_event({}, "org.x")
    assert rules.evaluate(event, room_facts(), UserFacts(ALICE)).actions == ("both",)


def test_rules_about_very_many_types_all_work(push_event, room_facts):
    rules = alices(
        *(
            rule(RuleKind.OVERRIDE, f"r{n}", [f"a{n}"], conditions=[condition("type", f"t{n}")])
            for n in range(100)
        )
    )
    for n in range(100):
        event = push_event({}, f"t{n}")
        assert rules.evaluate(event, room_facts(), UserFacts(ALICE)).actions == (f"a{n}",)
    assert rules.evaluate(push_event(), room_facts(), UserFacts(ALICE)) == NOTIFY


@pytest.mark.parametrize(
    ("actions", "notify", "highlight", "sound"),
    [
        ([], False, False, None),
        (["notify"], True, False, None),
        (["notify", {"set_tweak": "highlight"}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": True}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": False}], True, False, None),
        (["notify", {"set_tweak": "highlight", "value": "yes"}], True, False, None),
        ([{"set_tweak": "highlight"}, {"set_tweak": "sound", "value": "x"}], False, False, None),
        (["notify", {"set_tweak": "sound", "value": 1}], True, False, None),
        (["notify", {"set_tweak": "sound"}], True, False, None),
        (["notify", {"set_tweak": ["sound"]}, {"other": 1}, "x"], True, False, None),
        (
            ["notify", {"set_tweak": "sound", "value": "a"}, {"set_tweak": "sound", "value": "b"}],
            True,
            False,
            "b",
        ),
    ],
)
def test_actions_say_what_follows(actions, notify, highlight, sound):
    outcome = outcome_of(actions)
    assert (outcome.notify, outcome.highlight, outcome.sound) == (notify, highlight, sound)
    assert outcome.actions == tuple(actions)


def test_unknown_tweaks_reach_the_push_gateway():
    outcome = outcome_of(["notify", {"set_tweak": "org.example.flash", "value": {"n": 3}}])
    assert outcome.tweaks == {"org.example.flash": {"n": 3}}
