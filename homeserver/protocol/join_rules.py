"""Join rules: who may enter a room, and how.

Spec: client-server-api/#mroomjoin_rules
"""

from enum import Enum
from typing import Final

import msgspec

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import RoomID, parse_room_id
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules


class JoinRule(Enum):
    """The values of `join_rule`."""

    PUBLIC = "public"
    INVITE = "invite"
    KNOCK = "knock"
    RESTRICTED = "restricted"
    KNOCK_RESTRICTED = "knock_restricted"
    # Reserved by the specification, without meaning: nobody may join.
    PRIVATE = "private"
    # Anything else, and rules that the room version does not have: nobody may join.
    UNSUPPORTED = "unsupported"


_IN_EVERY_VERSION: Final = {
    rule.value: rule for rule in (JoinRule.PUBLIC, JoinRule.INVITE, JoinRule.PRIVATE)
}
_BY_MEMBERSHIP_ELSEWHERE: Final = (JoinRule.RESTRICTED, JoinRule.KNOCK_RESTRICTED)
_BY_KNOCKING: Final = (JoinRule.KNOCK, JoinRule.KNOCK_RESTRICTED)
_BY_INVITATION: Final = (JoinRule.INVITE, *_BY_KNOCKING, JoinRule.RESTRICTED)


class JoinRules(msgspec.Struct, frozen=True):
    """The join rule of a room; `allow` is the content's list of conditions, unchecked."""

    rule: JoinRule
    allow: JsonValue = None

    @property
    def is_public(self) -> bool:
        """Whether anyone may join."""
        return self.rule is JoinRule.PUBLIC

    @property
    def admits_invited(self) -> bool:
        """Whether an invitation is wanted, and enough, to join."""
        return self.rule in _BY_INVITATION

    @property
    def admits_authorised(self) -> bool:
        """Whether a member who may invite can let in those who meet an allow condition."""
        return self.rule in _BY_MEMBERSHIP_ELSEWHERE

    @property
    def admits_knocks(self) -> bool:
        """Whether users may knock."""
        return self.rule in _BY_KNOCKING

    def allowed_rooms(self) -> tuple[RoomID, ...]:
        """Return the rooms whose joined members may join this one, in the order of the event.

        Empty unless the rule is a restricted one. Conditions of another type, or without a
        valid room ID, can not be met and are left out; so are repetitions.
        Spec: client-server-api/#restricted-rooms
        """
        if not self.admits_authorised or not isinstance(self.allow, list):
            return ()
        rooms = map(_room_of_condition, self.allow)
        return tuple(dict.fromkeys(room_id for room_id in rooms if room_id is not None))


def parse_join_rules(content: JsonObject | None, rules: RoomVersionRules) -> JoinRules:
    """Read the content of `m.room.join_rules`; None where the room has no such event.

    Without the event, or without `join_rule` in it, the rule is `invite`: no document says
    so, all servers do (matrix-spec issue 657). Nothing is raised.
    """
    if content is None:
        return JoinRules(JoinRule.INVITE)
    return JoinRules(_rule_of(content.get("join_rule", "invite"), rules), content.get("allow"))


def _rule_of(stated: JsonValue, rules: RoomVersionRules) -> JoinRule:
    if not isinstance(stated, str):
        return JoinRule.UNSUPPORTED
    in_this_version = {
        JoinRule.KNOCK.value: rules.knocking,
        JoinRule.RESTRICTED.value: rules.restricted_joins,
        JoinRule.KNOCK_RESTRICTED.value: rules.knock_restricted,
    }
    if in_this_version.get(stated, False):
        return JoinRule(stated)
    return _IN_EVERY_VERSION.get(stated, JoinRule.UNSUPPORTED)


def _room_of_condition(condition: JsonValue) -> RoomID | None:
    if not isinstance(condition, dict) or condition.get("type") != "m.room_membership":
        return None
    room_id = condition.get("room_id")
    try:
        return parse_room_id(room_id) if isinstance(room_id, str) else None
    except InvalidIdentifier:
        return None
