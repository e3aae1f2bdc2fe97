"""The redaction algorithm. Spec: rooms/v1/#redactions, and each room version that changed it"""

from typing import Final

from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules

_KEYS: Final = frozenset(
    (
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    )
)
_KEYS_BEFORE_V11: Final = _KEYS | {"prev_state", "origin", "membership"}

_CONTENT_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "m.room.member": ("membership",),
    "m.room.create": ("creator",),
    "m.room.join_rules": ("join_rule",),
    "m.room.power_levels": (
        "ban",
        "events",
        "events_default",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    ),
    "m.room.aliases": (),
    "m.room.history_visibility": ("history_visibility",),
    "m.room.redaction": (),
}


def redact(pdu: JsonObject, rules: RoomVersionRules) -> JsonObject:
    """Return a copy of the PDU with only what its room version protects.

    `unsigned` goes too: whoever shows the event adds `redacted_because` anew. Values are
    shared with the original. Content that is no object counts as empty.
    """
    keys = _KEYS if rules.clarified_redaction else _KEYS_BEFORE_V11
    redacted = {key: value for key, value in pdu.items() if key in keys}
    if "content" in redacted:
        content = redacted["content"]
        is_object = isinstance(content, dict)
        redacted["content"] = _redact_content(pdu.get("type"), content, rules) if is_object else {}
    return redacted


def _redact_content(event_type: object, content: JsonObject, rules: RoomVersionRules) -> JsonObject:
    if not isinstance(event_type, str) or event_type not in _CONTENT_KEYS:
        return {}
    if event_type == "m.room.create" and rules.clarified_redaction:
        return dict(content)
    keys = (*_CONTENT_KEYS[event_type], *_further_content_keys(event_type, rules))
    kept = {key: content[key] for key in keys if key in content}
    if event_type == "m.room.member" and rules.clarified_redaction:
        _keep_signed(content, kept)
    return kept


def _further_content_keys(event_type: str, rules: RoomVersionRules) -> tuple[str, ...]:
    """Return the keys that some room versions protect and others do not."""
    match event_type:
        case "m.room.member" if rules.redaction_keeps_authorising_user:
            return ("join_authorised_via_users_server",)
        case "m.room.join_rules" if rules.redaction_keeps_join_rule_allow:
            return ("allow",)
        case "m.room.power_levels" if rules.clarified_redaction:
            return ("invite",)
        case "m.room.redaction" if rules.clarified_redaction:
            return ("redacts",)
        case "m.room.aliases" if rules.special_aliases:
            return ("aliases",)
        case _:
            return ()


def _keep_signed(content: JsonObject, kept: JsonObject) -> None:
    # MSC3821 preserves a portion of `third_party_invite`, "if present"; so an object without
    # `signed` stays as an empty one, which is also what other servers hash.
    invite = content.get("third_party_invite")
    if isinstance(invite, dict):
        kept["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
