"""The push rules of one user, kept as differences to the defaults, so that defaults may change.

Every operation returns a new value. Spec: client-server-api/#push-rules-api
"""

from typing import Final

import msgspec

from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID
from homeserver.protocol.push_rules.model import (
    Action,
    PushRuleAnchorNotFound,
    PushRuleNotFound,
    Rule,
    RuleKind,
    RuleSet,
    TooManyPushRules,
    parse_actions,
    parse_rule,
)

# Ours. Clients make a rule for every room that a user mutes.
MAX_RULES: Final = 5_000
# Each `?` of a pattern may be looked at for each character of a message.
MAX_SINGLE_WILDCARDS: Final = 64


class UserRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user has changed: rules of their own in order, and changes to server-defaults.

    `enabled` and `actions` are keyed by the ID of a server-default rule. The struct is stored
    as JSON as it is. An empty one means the default class: everybody in it has the same rules.
    """

    custom: RuleSet = RuleSet()
    enabled: dict[str, bool] = {}
    actions: dict[str, tuple[Action, ...]] = {}

    @property
    def is_default_class(self) -> bool:
        """Whether the user has exactly the default rules."""
        return self == UserRules()


def merged(user_rules: UserRules, defaults: RuleSet) -> RuleSet:
    """Return the rules in force for the user."""
    rules = RuleSet()
    for kind in RuleKind:
        custom = user_rules.custom.of_kind(kind)
        server = tuple(_changed(rule, user_rules) for rule in defaults.of_kind(kind))
        if server and server[0].rule_id == MASTER_RULE_ID:
            rules = rules.with_kind(kind, (server[0], *custom, *server[1:]))
        else:
            rules = rules.with_kind(kind, (*custom, *server))
    return rules


def put_rule(
    user_rules: UserRules,
    kind: RuleKind,
    rule_id: str,
    body: JsonObject,
    *,
    before: str | None = None,
    after: str | None = None,
) -> UserRules:
    """Add a rule or replace it. `before` wins over `after`.

    A new rule is enabled, and the most important of its kind unless placed. A replaced rule
    stays enabled or disabled, and in its place unless moved.
    Raises InvalidPushRule, PushRuleAnchorNotFound, TooManyPushRules.
    """
    rule = parse_rule(kind, rule_id, body)
    rules = user_rules.custom.of_kind(kind)
    index = _index_of(rules, rule_id)
    others = rules
    if index is not None:
        rule = msgspec.structs.replace(rule, is_enabled=rules[index].is_enabled)
        others = rules[:index] + rules[index + 1 :]
    place = _place(others, before, after, index or 0)
    changed = _with_custom(user_rules, kind, (*others[:place], rule, *others[place:]))
    _check_limits(changed.custom)
    return changed


def delete_rule(user_rules: UserRules, kind: RuleKind, rule_id: str) -> UserRules:
    """Remove a rule of the user's own. Raises PushRuleNotFound."""
    rules = user_rules.custom.of_kind(kind)
    index = _index_of(rules, rule_id)
    if index is None:
        raise PushRuleNotFound("The push rule was not found.")
    return _with_custom(user_rules, kind, rules[:index] + rules[index + 1 :])


def set_enabled(
    user_rules: UserRules, defaults: RuleSet, kind: RuleKind, rule_id: str, *, is_enabled: bool
) -> UserRules:
    """Enable or disable any rule. Raises PushRuleNotFound."""
    default = defaults.find(kind, rule_id)
    if default is None:
        return _with_changed_custom(user_rules, kind, rule_id, is_enabled=is_enabled)
    enabled = user_rules.enabled | {rule_id: is_enabled}
    if is_enabled == default.is_enabled:
        del enabled[rule_id]
    return msgspec.structs.replace(user_rules, enabled=enabled)


def set_actions(
    user_rules: UserRules, defaults: RuleSet, kind: RuleKind, rule_id: str, actions: JsonValue
) -> UserRules:
    """Change the actions of any rule. Raises PushRuleNotFound, InvalidPushRule."""
    parsed = parse_actions(actions)
    default = defaults.find(kind, rule_id)
    if default is None:
        return _with_changed_custom(user_rules, kind, rule_id, actions=parsed)
    changed = user_rules.actions | {rule_id: parsed}
    if parsed == default.actions:
        del changed[rule_id]
    return msgspec.structs.replace(user_rules, actions=changed)


def _changed(default: Rule, user_rules: UserRules) -> Rule:
    if default.rule_id not in user_rules.enabled and default.rule_id not in user_rules.actions:
        return default
    return msgspec.structs.replace(
        default,
        is_enabled=user_rules.enabled.get(default.rule_id, default.is_enabled),
        actions=user_rules.actions.get(default.rule_id, default.actions),
    )


def _index_of(rules: tuple[Rule, ...], rule_id: str) -> int | None:
    return next((index for index, rule in enumerate(rules) if rule.rule_id == rule_id), None)


def _place(rules: tuple[Rule, ...], before: str | None, after: str | None, default: int) -> int:
    anchor = before if before is not None else after
    if anchor is None:
        return default
    index = _index_of(rules, anchor)
    if index is None:
        raise PushRuleAnchorNotFound(f"before/after rule not found: {anchor}")
    return index if before is not None else index + 1


def _with_custom(user_rules: UserRules, kind: RuleKind, rules: tuple[Rule, ...]) -> UserRules:
    return msgspec.structs.replace(user_rules, custom=user_rules.custom.with_kind(kind, rules))


def _with_changed_custom(
    user_rules: UserRules, kind: RuleKind, rule_id: str, **changes: JsonValue
) -> UserRules:
    rules = user_rules.custom.of_kind(kind)
    index = _index_of(rules, rule_id)
    if index is None:
        raise PushRuleNotFound("The push rule was not found.")
    rule = msgspec.structs.replace(rules[index], **changes)
    return _with_custom(user_rules, kind, (*rules[:index], rule, *rules[index + 1 :]))


def _check_limits(custom: RuleSet) -> None:
    rules = [rule for kind in RuleKind for rule in custom.of_kind(kind)]
    if len(rules) > MAX_RULES:
        raise TooManyPushRules(f"more than {MAX_RULES} push rules")
    wildcards = 0
    for rule in rules:
        patterns = [rule.pattern, *(c.source.get("pattern") for c in rule.conditions)]
        wildcards += sum(p.count("?") for p in patterns if isinstance(p, str))
    if wildcards > MAX_SINGLE_WILDCARDS:
        raise TooManyPushRules(f"more than {MAX_SINGLE_WILDCARDS} question marks in patterns")
