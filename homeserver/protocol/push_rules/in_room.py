"""What a user's push rules come to in one room.

Many users have muted some rooms, and few different rule sets are left once the rules about other
rooms are gone: evaluation is done once for each of those.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.power_levels import DEFAULT_LEVELS, PowerLevels
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, literal_event_match
from homeserver.protocol.push_rules.evaluate import CompiledRules
from homeserver.protocol.push_rules.model import Rule, RuleKind, RuleSet
from homeserver.protocol.push_rules.user_rules import UserRules
from homeserver.protocol.room_versions import rules_of

_NEEDS_DISPLAY_NAME: Final = "contains_display_name"
# What is said most in rooms, readable or not.
_PLAIN_TYPES: Final = ("m.room.message", "m.room.encrypted")
# Any version would do: nobody in this room has a level.
_ROOM_VERSION: Final = "11"
# More than two members, so that no rule takes it for a conversation of two.
_MANY: Final = 100


class _Placed(NamedTuple):
    kind: RuleKind
    order: int
    rule: Rule


class RulesByRoom:
    """The push rules of a user, arranged so that those that count in a room are found at once."""

    __slots__ = ("_named", "_unnamed", "elsewhere")

    def __init__(self, user_rules: UserRules) -> None:
        self._unnamed: list[_Placed] = []
        self._named: dict[str, list[_Placed]] = {}
        for kind in RuleKind:
            for order, rule in enumerate(user_rules.custom.of_kind(kind)):
                self._place(_Placed(kind, order, rule))
        # What counts in rooms that no rule names.
        self.elsewhere: Final = UserRules(
            custom=_rule_set(self._unnamed),
            enabled=user_rules.enabled,
            actions=user_rules.actions,
        )

    def in_room(self, room_id: RoomID) -> UserRules:
        """Leave out what cannot match in the room: rules about other rooms, and disabled ones.

        The rest decides every event of the room as the whole does.
        """
        named = [
            each
            for each in self._named.get(room_id.lower(), ())
            # Conditions ignore case, but the ID of a room rule is a room ID.
            if each.kind is not RuleKind.ROOM or each.rule.rule_id == room_id
        ]
        if not named:
            return self.elsewhere
        return UserRules(
            custom=_rule_set(sorted([*self._unnamed, *named], key=lambda each: each.order)),
            enabled=self.elsewhere.enabled,
            actions=self.elsewhere.actions,
        )

    def _place(self, placed: _Placed) -> None:
        if not placed.rule.is_enabled:
            return
        rooms = _rooms_named_by(placed.kind, placed.rule)
        if not rooms:
            self._unnamed.append(placed)
        elif len(rooms) == 1:
            self._named.setdefault(rooms.pop(), []).append(placed)
        # Else no event is in all of the rooms.


def needs_display_name(user_rules: UserRules) -> bool:
    """Whether a rule of the user's own asks for the display name that the owner has in the room."""
    custom = user_rules.custom
    return any(
        condition.kind == _NEEDS_DISPLAY_NAME
        for rule in (*custom.override, *custom.underride)
        for condition in rule.conditions
    )


def is_silent_in(rules: CompiledRules, room_id: RoomID) -> bool:
    """Whether plain messages of others in the room, were it a large one, do not notify."""
    return not any(
        rules.evaluate(PushEvent(_plain_event(event_type, room_id)), _PLAIN_ROOM, None).notify
        for event_type in _PLAIN_TYPES
    )


def _rule_set(placed: Iterable[_Placed]) -> RuleSet:
    rules = RuleSet()
    for kind in RuleKind:
        of_kind = tuple(each.rule for each in placed if each.kind is kind)
        rules = rules.with_kind(kind, of_kind)
    return rules


def _rooms_named_by(kind: RuleKind, rule: Rule) -> set[str]:
    """Return the lower-case IDs of all the rooms in which an event must be to match."""
    if kind is RuleKind.ROOM:
        return {rule.rule_id.lower()}
    literals = (literal_event_match(condition, "room_id") for condition in rule.conditions)
    return {literal for literal in literals if literal is not None}


def _plain_event(event_type: str, room_id: RoomID) -> Event:
    return Event(
        event_id=EventID(""),
        room_id=room_id,
        room_version=_ROOM_VERSION,
        type=event_type,
        sender=UserID(""),
        content={},
        origin_server_ts=0,
        depth=0,
        prev_events=(),
        auth_events=(),
        pdu={},
    )


_PLAIN_ROOM: Final = RoomFacts(
    member_count=_MANY,
    power_levels=PowerLevels(
        rules=rules_of(_ROOM_VERSION),
        creators=frozenset(),
        users={},
        events={},
        notifications={},
        **DEFAULT_LEVELS,
    ),
)
