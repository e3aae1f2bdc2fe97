"""What the replacement of a room begins with.

Spec: client-server-api/#room-upgrades
"""

from collections.abc import Collection, Mapping
from typing import Final

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomAlias, UserID, parse_user_id
from homeserver.protocol.join_rules import JoinRule, parse_join_rules
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.power_levels import DEFAULT_LEVELS, read_entries, read_level
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.head import POWER_LEVELS, RoomHead
from homeserver.rooms.presets import CREATOR_LEVEL, StateDraft

CANONICAL_ALIAS: Final[StateKey] = ("m.room.canonical_alias", "")
# The recommended list, but for the power levels, which are set last: until then the creator may
# do everything.
_TRANSFERRED: Final = (
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
)
_SPACE_RELATIONS: Final = ("m.space.child", "m.space.parent")
# Each is an event to sign. A room with more bans than this is better kept by a policy list.
MAX_BANS: Final = 2_000
_MAX_LEVEL: Final = 2**53 - 1
# The example of the specification where creators stand above all levels.
_TOMBSTONE_LEVEL: Final = 150


def replacement_creation(
    old: RoomHead, old_create: Event, rules: RoomVersionRules, creators: Collection[UserID]
) -> JsonObject:
    """Return the content of the new create event; the first of the creators is its sender."""
    upgrader, *additional = creators
    predecessor: JsonObject = {"room_id": old.room_id}
    last = _last_event_id(old)
    if last is not None:
        predecessor["event_id"] = last
    content: JsonObject = {"room_version": rules.version, "predecessor": predecessor}
    if not rules.implicit_creator:
        content["creator"] = upgrader
    if rules.privileged_creators and additional:
        content["additional_creators"] = additional
    for key in ("type", "m.federate"):
        if key in old_create.content:
            content[key] = old_create.content[key]
    return content


def keys_to_read(old: RoomHead) -> list[StateKey]:
    """Return the keys of the old state whose events the replacement is made from."""
    wanted = {(event_type, "") for event_type in _TRANSFERRED} | {CANONICAL_ALIAS, POWER_LEVELS}
    bans = [key for key, entry in old.state.items() if entry.membership == "ban"]
    related = [key for key in old.state if key[0] in _SPACE_RELATIONS]
    return [*(key for key in wanted if key in old.state), *related, *bans[:MAX_BANS]]


def transferred_state(
    events: Mapping[StateKey, Event], rules: RoomVersionRules, aliases: Collection[RoomAlias]
) -> list[StateDraft]:
    """Return the state that is copied, without power levels; `aliases`: those that move along."""
    drafts = [
        StateDraft(event_type, dict(events[(event_type, "")].content))
        for event_type in _TRANSFERRED
        if (event_type, "") in events
    ]
    drafts = [_joinable(draft, rules) for draft in drafts]
    canonical = events.get(CANONICAL_ALIAS)
    if canonical is not None and (content := _with_aliases(canonical.content, aliases)):
        drafts.append(StateDraft("m.room.canonical_alias", content))
    for (event_type, state_key), event in events.items():
        if event_type in _SPACE_RELATIONS and is_related(event.content):
            drafts.append(StateDraft(event_type, event.content, state_key))
        elif event_type == "m.room.member":
            drafts.append(StateDraft(event_type, _ban(event.content), state_key))
    return drafts


def is_related(content: JsonObject) -> bool:
    """Whether the content of a space relation says that there is one."""
    via = content.get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(each, str) for each in via)


def without_aliases(content: JsonObject, moved: Collection[RoomAlias]) -> JsonObject:
    """Return the content of `m.room.canonical_alias` without aliases that lead elsewhere now."""
    kept = {key: value for key, value in content.items() if key != "alias" or value not in moved}
    alternatives = content.get("alt_aliases")
    if isinstance(alternatives, list):
        kept["alt_aliases"] = [alias for alias in alternatives if alias not in moved]
    return kept


def replacement_power_levels(
    old: RoomHead, content: JsonObject | None, rules: RoomVersionRules, creators: list[UserID]
) -> JsonObject:
    """Return the power levels of the new room: the same people may do the same.

    Levels are written as the new version wants them; what the old version did not understand
    is left out. Where one version has creators above all levels and the other has not, they
    lose their entries, or get the highest that is needed for anything.
    """
    stated = _stated_levels(old, content)
    users = _levels(read_entries(stated, "users"), old.rules)
    users = {user_id: level for user_id, level in users.items() if _is_user_id(user_id)}
    levels: JsonObject = {
        key: _clamped(level)
        for key in DEFAULT_LEVELS
        if (level := read_level(stated.get(key), old.rules)) is not None
    }
    events = _levels(read_entries(stated, "events"), old.rules)
    if rules.privileged_creators:
        users = {user_id: level for user_id, level in users.items() if user_id not in creators}
        state_default = levels.get("state_default", DEFAULT_LEVELS["state_default"])
        if events.get("m.room.tombstone", state_default) <= state_default:
            events["m.room.tombstone"] = _clamped(max(_TOMBSTONE_LEVEL, state_default + 1))
    elif old.rules.privileged_creators:
        highest = max([CREATOR_LEVEL, *levels.values(), *events.values(), *users.values()])
        users.update(dict.fromkeys([*sorted(old.creation.creators), creators[0]], highest))
    levels["users"] = users
    levels["events"] = events
    notifications = _levels(read_entries(stated, "notifications"), old.rules)
    if notifications:
        levels["notifications"] = notifications
    return levels


def quieted_power_levels(old: RoomHead, content: JsonObject | None) -> JsonObject | None:
    """Return power levels by which only moderators still send and invite; None: it is so.

    "…setting events_default and invite to the greater of 50 and users_default + 1."
    """
    levels = old.power_levels
    floor = _clamped(max(50, levels.users_default + 1))
    raised: JsonObject = {
        "events_default": max(floor, levels.events_default),
        "invite": max(floor, levels.invite),
    }
    if (levels.events_default, levels.invite) == (raised["events_default"], raised["invite"]):
        return None
    return {**_stated_levels(old, content), **raised}


def _stated_levels(head: RoomHead, content: JsonObject | None) -> JsonObject:
    if content is not None:
        return content
    # What holds in a room without the event has to be said in one that gets it.
    creator = head.creation.creator
    if head.rules.privileged_creators or creator is None:
        return {}
    return {"users": {creator: CREATOR_LEVEL}}


def _last_event_id(head: RoomHead) -> EventID | None:
    return max(head.extremities)[1] if head.extremities else None


def _joinable(draft: StateDraft, rules: RoomVersionRules) -> StateDraft:
    """Replace a join rule that the new version does not have: nobody could ever join."""
    if draft.type != "m.room.join_rules":
        return draft
    if parse_join_rules(draft.content, rules).rule is not JoinRule.UNSUPPORTED:
        return draft
    return draft._replace(content={**draft.content, "join_rule": JoinRule.INVITE.value})


def _with_aliases(content: JsonObject, aliases: Collection[RoomAlias]) -> JsonObject:
    kept: JsonObject = {}
    if content.get("alias") in aliases:
        kept["alias"] = content["alias"]
    alternatives = content.get("alt_aliases")
    if isinstance(alternatives, list):
        moving = [alias for alias in alternatives if alias in aliases]
        if moving:
            kept["alt_aliases"] = moving
    return kept


def _ban(content: JsonObject) -> JsonObject:
    ban: JsonObject = {"membership": "ban"}
    if isinstance(content.get("reason"), str):
        ban["reason"] = content["reason"]
    return ban


def _levels(entries: Mapping[str, JsonValue], rules: RoomVersionRules) -> dict[str, int]:
    read = {key: read_level(value, rules) for key, value in entries.items()}
    return {key: _clamped(level) for key, level in read.items() if level is not None}


def _clamped(level: int) -> int:
    return max(-_MAX_LEVEL, min(level, _MAX_LEVEL))


def _is_user_id(text: str) -> bool:
    try:
        parse_user_id(text)
    except InvalidIdentifier:
        return False
    return True
