"""Push rules as data, and their JSON in the client-server API.

Spec: client-server-api/#push-rules, client-server-api/#get_matrixclientv3pushrules
"""

import re
from enum import StrEnum
from typing import Final, Self, TypeAlias

import msgspec

from homeserver.protocol.errors import InvalidJson, ProtocolError
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject, JsonValue

# "notify", or an object such as {"set_tweak": "sound", "value": "default"}. Unknown ones are kept.
Action: TypeAlias = str | JsonObject
# "Clients and homeservers MUST ignore these actions, for instance, by stripping them"
_HISTORICAL_ACTIONS: Final = frozenset({"dont_notify", "coalesce"})
# The dot marks server-default rules. NUL and lone surrogates cannot be stored.
_OWN_RULE_ID: Final = re.compile(r"(?!\.)[^/\\\0\ud800-\udfff]+")
# Ours: a rule is some names and patterns. Thousands of rules are kept for each user.
MAX_RULE_BYTES: Final = 8_192


class InvalidPushRule(InvalidJson):
    """A push rule, its ID or its actions break the schema."""


class PushRuleNotFound(ProtocolError):
    """There is no such push rule, or it is a server-default rule, which cannot be deleted."""


class PushRuleAnchorNotFound(ProtocolError):
    """The rule named by `before` or `after` is none of the user's own of that kind."""


class TooManyPushRules(ProtocolError):
    """The user has as many push rules, or as many wildcards in them, as we allow."""


class RuleKind(StrEnum):
    """The kinds of rules, in the order in which they are checked."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"

    @property
    def has_conditions(self) -> bool:
        """Whether rules of this kind carry a list of conditions."""
        return self in (RuleKind.OVERRIDE, RuleKind.UNDERRIDE)


class Condition(msgspec.Struct, frozen=True):
    """One condition as the client sent it, understood or not.

    `own_user_member` names the member whose value is the ID of the rules' owner; that member
    is then left out of `source`. Only server-default rules have it.
    """

    source: JsonObject
    own_user_member: str | None = None

    @property
    def kind(self) -> str:
        """What the condition asks."""
        return str(self.source["kind"])

    def to_json(self, owner: UserID) -> JsonObject:
        """Return the condition as `owner` sees it."""
        if self.own_user_member is None:
            return self.source
        return self.source | {self.own_user_member: owner}


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One push rule. `pattern` belongs to content rules, `conditions` to over- and underrides."""

    rule_id: str
    actions: tuple[Action, ...]
    conditions: tuple[Condition, ...] = ()
    pattern: str | None = None
    is_enabled: bool = True
    is_default: bool = False

    def to_json(self, kind: RuleKind, owner: UserID) -> JsonObject:
        """Return the rule as the client-server API has it."""
        rule: JsonObject = {
            "rule_id": self.rule_id,
            "default": self.is_default,
            "enabled": self.is_enabled,
            "actions": list(self.actions),
        }
        if kind.has_conditions:
            rule["conditions"] = [condition.to_json(owner) for condition in self.conditions]
        elif kind is RuleKind.CONTENT:
            rule["pattern"] = self.pattern
        return rule


class RuleSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rules by kind, the most important first."""

    override: tuple[Rule, ...] = ()
    content: tuple[Rule, ...] = ()
    room: tuple[Rule, ...] = ()
    sender: tuple[Rule, ...] = ()
    underride: tuple[Rule, ...] = ()

    def of_kind(self, kind: RuleKind) -> tuple[Rule, ...]:
        """Return the rules of one kind in order."""
        rules: tuple[Rule, ...] = getattr(self, kind.value)
        return rules

    def with_kind(self, kind: RuleKind, rules: tuple[Rule, ...]) -> Self:
        """Return a copy with other rules of one kind."""
        return msgspec.structs.replace(self, **{kind.value: rules})

    def find(self, kind: RuleKind, rule_id: str) -> Rule | None:
        """Look up a rule."""
        return next((rule for rule in self.of_kind(kind) if rule.rule_id == rule_id), None)

    def to_json(self, owner: UserID) -> JsonObject:
        """Return what the API and the account data `m.push_rules` call `global`."""
        return {
            kind.value: [rule.to_json(kind, owner) for rule in self.of_kind(kind)]
            for kind in RuleKind
        }


class _RuleBody(msgspec.Struct, frozen=True):
    actions: list[JsonValue]
    conditions: list[JsonValue] = []
    pattern: str | None = None


def parse_rule(kind: RuleKind, rule_id: str, body: JsonObject) -> Rule:
    """Read a rule that a client puts. Conditions that nobody knows are kept.

    Raises InvalidPushRule.
    """
    if not _OWN_RULE_ID.fullmatch(rule_id):
        raise InvalidPushRule("a rule ID must not be empty, begin with a dot or contain slashes")
    if len(msgspec.json.encode(body)) + len(rule_id.encode()) > MAX_RULE_BYTES:
        raise InvalidPushRule(f"the rule is larger than {MAX_RULE_BYTES} bytes")
    try:
        parsed = msgspec.convert(body, _RuleBody)
    except msgspec.ValidationError as fault:
        raise InvalidPushRule(f"invalid push rule: {fault}") from None
    if kind is RuleKind.CONTENT and parsed.pattern is None:
        raise InvalidPushRule("a content rule needs a pattern")
    return Rule(
        rule_id=rule_id,
        actions=parse_actions(parsed.actions),
        conditions=_parse_conditions(parsed.conditions) if kind.has_conditions else (),
        pattern=parsed.pattern if kind is RuleKind.CONTENT else None,
    )


def parse_actions(actions: JsonValue) -> tuple[Action, ...]:
    """Read a list of actions, without the historical ones. Raises InvalidPushRule."""
    if not isinstance(actions, list):
        raise InvalidPushRule("actions must be a list")
    if not all(isinstance(action, str | dict) for action in actions):
        raise InvalidPushRule("an action must be a string or an object")
    if len(msgspec.json.encode(actions)) > MAX_RULE_BYTES:
        raise InvalidPushRule(f"the actions are larger than {MAX_RULE_BYTES} bytes")
    return tuple(
        action
        for action in actions
        if isinstance(action, dict) or action not in _HISTORICAL_ACTIONS
    )


def _parse_conditions(conditions: list[JsonValue]) -> tuple[Condition, ...]:
    for condition in conditions:
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise InvalidPushRule("a condition must be an object with a kind")
    return tuple(Condition(condition) for condition in conditions)
