"""Evaluation of push rules: which rule an event matches first, and what follows from it.

The rules of the default class are evaluated once per event with no user, and again only for the
users whom the event singles out and for those with rules of their own.
Spec: client-server-api/#push-rules
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_rules.conditions import (
    PushEvent,
    RoomFacts,
    Test,
    UserFacts,
    compile_condition,
    compile_event_match,
    literal_event_match,
    never,
)
from homeserver.protocol.push_rules.model import Action, Condition, Rule, RuleKind, RuleSet

# Each indexed event type costs a list of all the rules that do not name one.
_MAX_INDEXED_TYPES: Final = 64


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules say about an event. Without `notify` there is no highlight and no sound."""

    actions: tuple[Action, ...]
    notify: bool
    highlight: bool
    sound: str | None
    # For the push gateway, unknown ones included. Not to be changed.
    tweaks: JsonObject


def outcome_of(actions: Iterable[Action]) -> Outcome:
    """Read a list of actions. Of several tweaks of one name the last counts."""
    actions = tuple(actions)
    tweaks: JsonObject = {}
    for action in actions:
        if isinstance(action, dict) and isinstance(action.get("set_tweak"), str):
            name = action["set_tweak"]
            # "If a `highlight` tweak is given with no value, its value is defined to be `true`."
            tweaks[name] = action.get("value", True if name == "highlight" else None)
    notify = "notify" in actions
    sound = tweaks.get("sound")
    return Outcome(
        actions=actions,
        notify=notify,
        highlight=notify and tweaks.get("highlight") is True,
        sound=sound if notify and isinstance(sound, str) else None,
        tweaks=tweaks,
    )


SILENT: Final = outcome_of(())


class _CompiledRule(msgspec.Struct, frozen=True):
    order: int
    tests: tuple[Test, ...]
    outcome: Outcome


def singled_out_users(event: PushEvent) -> frozenset[UserID]:
    """Return the users for whom the default rules may say something else than for all others."""
    state_key = event.event.state_key
    if event.event.type != "m.room.member" or state_key is None:
        return event.mentioned_users
    return event.mentioned_users | {UserID(state_key)}


class CompiledRules:
    """A rule set ready to be evaluated. Rules that cannot match are left out.

    Rules about one event type, room or sender are found by it: a user may have muted
    thousands of rooms. Making one costs some µs a rule: keep it.
    """

    __slots__ = ("_by_room", "_by_sender", "_by_type", "_untyped")

    def __init__(self, rules: RuleSet) -> None:
        self._by_room: dict[str, list[_CompiledRule]] = {}
        self._by_sender: dict[str, list[_CompiledRule]] = {}
        typed: list[tuple[str | None, _CompiledRule]] = []
        types: set[str] = set()
        for order, (kind, rule) in enumerate(_enabled(rules)):
            self._add(kind, rule, order, typed, types)
        self._untyped = tuple(rule for event_type, rule in typed if event_type is None)
        self._by_type = {
            name: tuple(rule for event_type, rule in typed if event_type in (None, name))
            for name in types
        }

    def evaluate(self, event: PushEvent, room: RoomFacts, user: UserFacts | None) -> Outcome:
        """Return the outcome of the first rule that matches; SILENT if none does.

        With no user: for everybody but `singled_out_users`. A user's own events are silent.
        """
        if user is not None and user.user_id == event.event.sender:
            return SILENT
        for rule in self._candidates(event):
            for test in rule.tests:
                if not test(event, room, user):
                    break
            else:
                return rule.outcome
        return SILENT

    def _candidates(self, event: PushEvent) -> Iterable[_CompiledRule]:
        rules = self._by_type.get(event.event.type.lower(), self._untyped)
        of_room = self._by_room.get(event.event.room_id.lower(), ())
        of_sender = self._by_sender.get(event.event.sender, ())
        if not of_room and not of_sender:
            return rules
        return sorted((*rules, *of_room, *of_sender), key=_order)

    def _add(
        self,
        kind: RuleKind,
        rule: Rule,
        order: int,
        typed: list[tuple[str | None, _CompiledRule]],
        types: set[str],
    ) -> None:
        conditions, room_id = _without_literal(rule.conditions, "room_id")
        event_type = None
        if kind is RuleKind.ROOM:
            room_id = rule.rule_id.lower()
        elif room_id is None:
            others, event_type = _without_literal(conditions, "type")
            if event_type is not None and len(types | {event_type}) <= _MAX_INDEXED_TYPES:
                conditions = others
                types.add(event_type)
            else:
                event_type = None
        tests = (*_predefined_tests(kind, rule), *map(compile_condition, conditions))
        if never in tests:
            return
        compiled = _CompiledRule(order, tests, outcome_of(rule.actions))
        if room_id is not None:
            self._by_room.setdefault(room_id, []).append(compiled)
        elif kind is RuleKind.SENDER:
            self._by_sender.setdefault(rule.rule_id, []).append(compiled)
        else:
            typed.append((event_type, compiled))


def _enabled(rules: RuleSet) -> Iterable[tuple[RuleKind, Rule]]:
    for kind in RuleKind:
        for rule in rules.of_kind(kind):
            if rule.is_enabled:
                yield kind, rule


def _order(rule: _CompiledRule) -> int:
    return rule.order


def _without_literal(
    conditions: tuple[Condition, ...], key: str
) -> tuple[tuple[Condition, ...], str | None]:
    """Take out the first condition that demands one value of `key`, and return the value."""
    for index, condition in enumerate(conditions):
        literal = literal_event_match(condition, key)
        if literal is not None:
            return conditions[:index] + conditions[index + 1 :], literal
    return conditions, None


def _predefined_tests(kind: RuleKind, rule: Rule) -> tuple[Test, ...]:
    """Return the conditions that a kind of rule has by itself.

    Sender rules need none: they are found by the sender.
    """
    if kind is RuleKind.CONTENT:
        return (compile_event_match("content.body", rule.pattern or ""),)
    if kind is RuleKind.ROOM:
        # Found by the room ID in lower case, like `event_match`; but here case matters.
        return (lambda event, _room, _user: event.event.room_id == rule.rule_id,)
    return ()
