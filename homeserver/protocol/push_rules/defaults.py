"""The server-default rules, in the order of the specification.

Spec: client-server-api/#predefined-rules
"""

from typing import Final

from homeserver.protocol.json_types import JsonValue
from homeserver.protocol.push_rules.model import Action, Condition, Rule, RuleSet

# Always first, before the user's own rules: "has always a higher priority than other rules".
MASTER_RULE_ID: Final = ".m.rule.master"

_HIGHLIGHT: Final[Action] = {"set_tweak": "highlight"}


def _sound(name: str) -> Action:
    return {"set_tweak": "sound", "value": name}


def _event_match(key: str, pattern: str) -> Condition:
    return Condition({"kind": "event_match", "key": key, "pattern": pattern})


def _property_is(key: str, value: JsonValue) -> Condition:
    return Condition({"kind": "event_property_is", "key": key, "value": value})


def _rule(rule_id: str, conditions: tuple[Condition, ...], *actions: Action) -> Rule:
    return Rule(rule_id=rule_id, conditions=conditions, actions=actions, is_default=True)


_ONE_TO_ONE: Final = Condition({"kind": "room_member_count", "is": "2"})

_OVERRIDES: Final = (
    Rule(rule_id=MASTER_RULE_ID, actions=(), is_default=True, is_enabled=False),
    _rule(".m.rule.suppress_notices", (_event_match("content.msgtype", "m.notice"),)),
    _rule(
        ".m.rule.invite_for_me",
        (
            _event_match("type", "m.room.member"),
            _event_match("content.membership", "invite"),
            Condition({"kind": "event_match", "key": "state_key"}, own_user_member="pattern"),
        ),
        "notify",
        _sound("default"),
    ),
    _rule(".m.rule.member_event", (_event_match("type", "m.room.member"),)),
    _rule(
        ".m.rule.is_user_mention",
        (
            Condition(
                {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids"},
                own_user_member="value",
            ),
        ),
        "notify",
        _sound("default"),
        _HIGHLIGHT,
    ),
    _rule(
        ".m.rule.is_room_mention",
        (
            _property_is(r"content.m\.mentions.room", True),  # noqa: FBT003  a JSON value
            Condition({"kind": "sender_notification_permission", "key": "room"}),
        ),
        "notify",
        _HIGHLIGHT,
    ),
    _rule(
        ".m.rule.tombstone",
        (_event_match("type", "m.room.tombstone"), _event_match("state_key", "")),
        "notify",
        _HIGHLIGHT,
    ),
    _rule(".m.rule.reaction", (_event_match("type", "m.reaction"),)),
    _rule(
        ".m.rule.room.server_acl",
        (_event_match("type", "m.room.server_acl"), _event_match("state_key", "")),
    ),
    _rule(
        ".m.rule.suppress_edits", (_property_is(r"content.m\.relates_to.rel_type", "m.replace"),)
    ),
)

_UNDERRIDES: Final = (
    _rule(".m.rule.call", (_event_match("type", "m.call.invite"),), "notify", _sound("ring")),
    _rule(
        ".m.rule.encrypted_room_one_to_one",
        (_ONE_TO_ONE, _event_match("type", "m.room.encrypted")),
        "notify",
        _sound("default"),
    ),
    _rule(
        ".m.rule.room_one_to_one",
        (_ONE_TO_ONE, _event_match("type", "m.room.message")),
        "notify",
        _sound("default"),
    ),
    _rule(".m.rule.message", (_event_match("type", "m.room.message"),), "notify"),
    _rule(".m.rule.encrypted", (_event_match("type", "m.room.encrypted"),), "notify"),
)

# MSC3930 under its unstable names, the only ones in use.
_POLL_OVERRIDES: Final = (
    _rule(
        ".org.matrix.msc3930.rule.poll_response",
        (_event_match("type", "org.matrix.msc3381.poll.response"),),
    ),
)
_POLL_UNDERRIDES: Final = tuple(
    rule
    for step in ("start", "end")
    for rule in (
        _rule(
            f".org.matrix.msc3930.rule.poll_{step}_one_to_one",
            (_ONE_TO_ONE, _event_match("type", f"org.matrix.msc3381.poll.{step}")),
            "notify",
            _sound("default"),
        ),
        _rule(
            f".org.matrix.msc3930.rule.poll_{step}",
            (_event_match("type", f"org.matrix.msc3381.poll.{step}"),),
            "notify",
        ),
    )
)


def default_rules(*, with_polls: bool) -> RuleSet:
    """Return the rules of a user who has changed nothing; the same for everybody.

    `with_polls` adds the rules of MSC3930 that today's clients know.
    """
    if not with_polls:
        return RuleSet(override=_OVERRIDES, underride=_UNDERRIDES)
    return RuleSet(override=_OVERRIDES + _POLL_OVERRIDES, underride=_UNDERRIDES + _POLL_UNDERRIDES)
