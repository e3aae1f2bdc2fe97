"""The state that a new room begins with. Spec: client-server-api/#post_matrixclientv3createroom"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

from homeserver.config.sections.rooms import RoomsSection
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules

Preset: TypeAlias = Literal["private_chat", "public_chat", "trusted_private_chat"]

_ALL_PRESETS: Final[frozenset[Preset]] = frozenset(
    ("private_chat", "trusted_private_chat", "public_chat")
)
_MEGOLM: Final = "m.megolm.v1.aes-sha2"

CREATOR_LEVEL = 100
_MODERATOR_LEVEL = 50
# "…the power level for sending m.room.tombstone events MUST explicitly be higher than
# state_default" where creators stand above all levels; the specification's own example.
_TOMBSTONE_LEVEL_BELOW_CREATORS = 150


class StateDraft(NamedTuple):
    """One state event that is to be set."""

    type: str
    content: JsonObject
    state_key: str = ""


def encrypted_presets(settings: RoomsSection) -> frozenset[Preset]:
    """Return the presets whose rooms are encrypted from the start."""
    if settings.encrypt_new_rooms == "off":
        return frozenset()
    if settings.encrypt_new_rooms == "all":
        return _ALL_PRESETS
    return _ALL_PRESETS - {"public_chat"}


def preset_state(preset: Preset, *, is_encrypted: bool = False) -> list[StateDraft]:
    """Return the state events that a preset sets, in the order of the specification."""
    is_public = preset == "public_chat"
    return [
        StateDraft("m.room.join_rules", {"join_rule": "public" if is_public else "invite"}),
        StateDraft("m.room.history_visibility", {"history_visibility": "shared"}),
        StateDraft(
            "m.room.guest_access", {"guest_access": "forbidden" if is_public else "can_join"}
        ),
        *([StateDraft("m.room.encryption", {"algorithm": _MEGOLM})] if is_encrypted else ()),
    ]


def default_power_levels(
    creator: UserID, preset: Preset, invitees: Iterable[UserID], rules: RoomVersionRules
) -> JsonObject:
    """Return the content of the first power levels event.

    Who may do what follows the defaults of the specification; events by which a room could be
    taken over need the creator's level.
    """
    users: dict[str, int] = {}
    tombstone = _TOMBSTONE_LEVEL_BELOW_CREATORS
    if not rules.privileged_creators:
        tombstone = CREATOR_LEVEL
        users[creator] = CREATOR_LEVEL
        if preset == "trusted_private_chat":
            users.update(dict.fromkeys(invitees, CREATOR_LEVEL))
    return {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": _MODERATOR_LEVEL,
            "m.room.avatar": _MODERATOR_LEVEL,
            "m.room.canonical_alias": _MODERATOR_LEVEL,
            "m.room.power_levels": CREATOR_LEVEL,
            "m.room.history_visibility": CREATOR_LEVEL,
            "m.room.encryption": CREATOR_LEVEL,
            "m.room.server_acl": CREATOR_LEVEL,
            "m.room.tombstone": tombstone,
        },
        "events_default": 0,
        "state_default": _MODERATOR_LEVEL,
        "ban": _MODERATOR_LEVEL,
        "kick": _MODERATOR_LEVEL,
        "redact": _MODERATOR_LEVEL,
        # In a private room everybody may bring somebody along; in a public one all can join.
        "invite": _MODERATOR_LEVEL if preset == "public_chat" else 0,
    }


def creation_content(
    requested: JsonObject,
    creator: UserID,
    preset: Preset,
    invitees: Iterable[UserID],
    rules: RoomVersionRules,
) -> JsonObject:
    """Return the content of the create event: `creator` and `room_version` are the server's."""
    content = {key: value for key, value in requested.items() if key != "creator"}
    content["room_version"] = rules.version
    if not rules.implicit_creator:
        content["creator"] = creator
    if rules.privileged_creators and preset == "trusted_private_chat":
        stated = content.get("additional_creators")
        named = stated if isinstance(stated, list) else []
        others = [user_id for user_id in dict.fromkeys([*named, *invitees]) if user_id != creator]
        if others or stated is not None:
            content["additional_creators"] = others
    return content
