"""Which state events an event cites as its auth events.

Spec: server-server-api/#auth-events-selection
"""

from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import StateKey
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules


def select_auth_events(
    event_type: str,
    sender: UserID,
    state_key: str | None,
    content: JsonObject,
    rules: RoomVersionRules,
) -> list[StateKey]:
    """Choose the state keys whose current events become auth events.

    In the order of the specification's list, without repetition; keys that the room state
    does not have are simply not cited. Empty for the create event.
    Raises AuthRefusal: an `m.room.member` event has no state key.
    """
    if event_type == "m.room.create":
        return []
    # The room ID of version 12 names the create event already.
    keys = [] if rules.room_id_is_create_hash else [("m.room.create", "")]
    keys += [("m.room.power_levels", ""), ("m.room.member", sender)]
    if event_type != "m.room.member":
        return keys
    if state_key is None:
        raise AuthRefusal(AuthRule.MEMBER_STATE_KEY, "A membership event must have a state key")
    keys += _keys_of_membership(state_key, content, rules)
    return list(dict.fromkeys(keys))


def _keys_of_membership(
    target: str, content: JsonObject, rules: RoomVersionRules
) -> list[StateKey]:
    membership = content.get("membership")
    keys = [("m.room.member", target)]
    if membership in ("join", "invite", "knock"):
        keys.append(("m.room.join_rules", ""))
    if membership == "invite" and (token := token_of(content)) is not None:
        keys.append(("m.room.third_party_invite", token))
    if membership == "join" and rules.restricted_joins:
        authorising_user = content.get("join_authorised_via_users_server")
        if isinstance(authorising_user, str):
            keys.append(("m.room.member", authorising_user))
    return keys


def token_of(content: JsonObject) -> str | None:
    """Return `third_party_invite.signed.token` of a member event's content, if it is a string."""
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None
