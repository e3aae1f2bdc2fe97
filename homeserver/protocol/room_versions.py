"""Room versions as a table of named facts.

Algorithms take `RoomVersionRules` and ask for a fact; only this file compares versions.
Spec: rooms/
"""

from enum import Enum
from typing import Final

import msgspec

from homeserver.protocol.errors import UnsupportedRoomVersion


class EventIDFormat(Enum):
    """How an event gets its ID."""

    SERVER_CHOSEN = "v1"  # "$opaque:domain", inside the PDU
    REFERENCE_HASH_BASE64 = "v3"  # "$" and the reference hash in unpadded base64
    REFERENCE_HASH_URLSAFE = "v4"  # the same in URL-safe unpadded base64


class StateResolution(Enum):
    """Which algorithm merges the states of a room."""

    V1 = "v1"
    V2 = "v2"
    V2_1 = "v2.1"


class RoomVersionRules(msgspec.Struct, frozen=True, kw_only=True):
    """The facts in which room versions differ."""

    version: str
    event_id_format: EventIDFormat
    state_resolution: StateResolution
    # Keys used to sign events must be valid at `origin_server_ts`. Spec: rooms/v5/
    enforce_key_validity: bool
    # Integers within ±(2^53 - 1), no floats, in events. Spec: rooms/v6/#canonical-json
    strict_canonical_json: bool
    # Rule 4 of v1 and the redaction exemption for `m.room.aliases`. Spec: rooms/v6/
    special_aliases: bool
    # Rule 11 of v1: redactions are judged by the authorization rules. Spec: rooms/v3/
    redactions_in_auth_rules: bool
    # `notifications` in power levels is limited like `events`. Spec: rooms/v6/
    limit_notification_levels: bool
    # Power levels must be integers, no strings. Spec: rooms/v10/
    integer_power_levels: bool
    knocking: bool  # rooms/v7
    restricted_joins: bool  # rooms/v8
    knock_restricted: bool  # rooms/v10
    # Redaction keeps `allow` of `m.room.join_rules`. Spec: rooms/v8/
    redaction_keeps_join_rule_allow: bool
    # Redaction keeps `join_authorised_via_users_server` of `m.room.member`. Spec: rooms/v9/
    redaction_keeps_authorising_user: bool
    # Redaction as clarified by v11: all of create, `redacts`, `invite`, third-party `signed`;
    # top-level `origin`, `membership`, `prev_state` go. Spec: rooms/v11/
    clarified_redaction: bool
    # `redacts` stands in `content` instead of at the top. Spec: rooms/v11/
    redacts_in_content: bool
    # The creator is the create event's sender; `content.creator` is gone. Spec: rooms/v11/
    implicit_creator: bool
    # The room ID is the create event's reference hash. Spec: rooms/v12/
    room_id_is_create_hash: bool
    # Creators stand above all power levels; `additional_creators`. Spec: rooms/v12/
    privileged_creators: bool


_V1: Final = RoomVersionRules(
    version="1",
    event_id_format=EventIDFormat.SERVER_CHOSEN,
    state_resolution=StateResolution.V1,
    enforce_key_validity=False,
    strict_canonical_json=False,
    special_aliases=True,
    redactions_in_auth_rules=True,
    limit_notification_levels=False,
    integer_power_levels=False,
    knocking=False,
    restricted_joins=False,
    knock_restricted=False,
    redaction_keeps_join_rule_allow=False,
    redaction_keeps_authorising_user=False,
    clarified_redaction=False,
    redacts_in_content=False,
    implicit_creator=False,
    room_id_is_create_hash=False,
    privileged_creators=False,
)
_replace = msgspec.structs.replace
_V2: Final = _replace(_V1, version="2", state_resolution=StateResolution.V2)
_V3: Final = _replace(
    _V2,
    version="3",
    event_id_format=EventIDFormat.REFERENCE_HASH_BASE64,
    redactions_in_auth_rules=False,
)
_V4: Final = _replace(_V3, version="4", event_id_format=EventIDFormat.REFERENCE_HASH_URLSAFE)
_V5: Final = _replace(_V4, version="5", enforce_key_validity=True)
_V6: Final = _replace(
    _V5,
    version="6",
    strict_canonical_json=True,
    special_aliases=False,
    limit_notification_levels=True,
)
_V7: Final = _replace(_V6, version="7", knocking=True)
_V8: Final = _replace(_V7, version="8", restricted_joins=True, redaction_keeps_join_rule_allow=True)
_V9: Final = _replace(_V8, version="9", redaction_keeps_authorising_user=True)
_V10: Final = _replace(_V9, version="10", knock_restricted=True, integer_power_levels=True)
_V11: Final = _replace(
    _V10,
    version="11",
    clarified_redaction=True,
    redacts_in_content=True,
    implicit_creator=True,
)
_V12: Final = _replace(
    _V11,
    version="12",
    state_resolution=StateResolution.V2_1,
    room_id_is_create_hash=True,
    privileged_creators=True,
)

ROOM_VERSIONS: Final[dict[str, RoomVersionRules]] = {
    rules.version: rules
    for rules in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)
}
DEFAULT_ROOM_VERSION: Final = "12"  # rooms/: "Servers SHOULD use room version 12"


def rules_of(room_version: str) -> RoomVersionRules:
    """Look up a room version. Raises UnsupportedRoomVersion."""
    rules = ROOM_VERSIONS.get(room_version)
    if rules is None:
        raise UnsupportedRoomVersion(room_version)
    return rules
