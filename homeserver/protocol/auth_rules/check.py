"""The authorization rules: may this event be in the room?

`check_state_independent` asks what only the event and the events it cites decide, once.
`check_state_dependent` asks what a room state decides, once for every state that matters.
The quoted rules are those of the room versions, in their order; their numbers differ.
Spec: rooms/v12/#authorization-rules and the same section of every other version
"""

from collections.abc import Callable, Container, Sequence
from typing import TypeAlias

from homeserver.protocol.auth_rules.auth_events import check_auth_events, check_room_of_create
from homeserver.protocol.auth_rules.context import AuthContext, auth_context
from homeserver.protocol.auth_rules.create import check_create
from homeserver.protocol.auth_rules.member import check_authorising_signature, check_member
from homeserver.protocol.auth_rules.power_levels import check_power_levels
from homeserver.protocol.auth_rules.redaction import check_redaction
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateMap
from homeserver.protocol.identifiers import EventID, ServerName, server_name_of
from homeserver.protocol.room_versions import RoomVersionRules

# Whether the event at hand carries a valid signature of a server. The caller has verified
# signatures; a set's `__contains__` will do.
SignedBy: TypeAlias = Callable[[ServerName], bool]


def check_auth(
    event: Event,
    auth_events: Sequence[Event],
    rules: RoomVersionRules,
    *,
    signed_by: SignedBy,
    rejected: Container[EventID] = frozenset(),
    create_event: Event | None = None,
) -> None:
    """Judge an event by its own auth events: all the rules, against the state they form.

    Step 4 of the checks on receipt. The parameters are those of `check_state_independent`.
    Raises AuthRefusal. Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
    """
    check_state_independent(
        event,
        auth_events,
        rules,
        signed_by=signed_by,
        rejected=rejected,
        create_event=create_event,
    )
    state = {(cited.type, cited.state_key or ""): cited for cited in auth_events}
    if create_event is not None:
        state.setdefault(("m.room.create", ""), create_event)
    check_state_dependent(event, state, rules)


def check_state_independent(
    event: Event,
    auth_events: Sequence[Event],
    rules: RoomVersionRules,
    *,
    signed_by: SignedBy,
    rejected: Container[EventID] = frozenset(),
    create_event: Event | None = None,
) -> None:
    """Judge what does not depend on a room state.

    `auth_events` are the events that `event.auth_events` names, all of them and no others;
    `rejected` holds at least those of them, and the create event, that were rejected.
    `create_event` is the accepted create event of the room; versions before 12 cite it and do
    not look at the parameter. Raises AuthRefusal.
    """
    if event.type == "m.room.create":
        check_create(event, rules)
        return
    if rules.room_id_is_create_hash:
        check_room_of_create(event, create_event, rejected)
    check_auth_events(event, auth_events, rules, rejected)
    if event.type == "m.room.member" and rules.restricted_joins:
        check_authorising_signature(event, signed_by)


def check_state_dependent(event: Event, state: StateMap[Event], rules: RoomVersionRules) -> None:
    """Judge an event by a room state, which must contain the create event.

    Raises AuthRefusal. The rules of `check_state_independent` are taken as kept.
    """
    if event.type != "m.room.create":
        check_in_context(event, auth_context(state, rules))


def check_in_context(event: Event, context: AuthContext) -> None:
    """Judge an event by a room state of which the parts are parsed: the fast path of sending.

    Raises AuthRefusal. The same as `check_state_dependent` otherwise.
    """
    if event.type == "m.room.create":
        return
    _check_room(event, context)
    # If type is m.room.aliases: … (Before version 6.)
    if event.type == "m.room.aliases" and context.rules.special_aliases:
        _check_aliases(event)
    # If type is m.room.member: …
    elif event.type == "m.room.member":
        check_member(event, context)
    # If the sender's current membership state is not join, reject.
    elif context.membership_of(event.sender) != "join":
        raise AuthRefusal(AuthRule.SENDER_NOT_JOINED, "You are not in the room")
    # If type is m.room.third_party_invite: allow if and only if sender's current power level
    # is greater than or equal to the invite level.
    elif event.type == "m.room.third_party_invite":
        if not context.power_levels.may_invite(event.sender):
            raise AuthRefusal(AuthRule.THIRD_PARTY_INVITE_LEVEL, "You may not invite")
    else:
        _check_levels(event, context)


def _check_room(event: Event, context: AuthContext) -> None:
    creation = context.creation
    if creation.room_id != event.room_id:
        raise AuthRefusal(AuthRule.ROOM_CREATE, "The event is of another room")
    # If the content of the m.room.create event in the room state has the property m.federate
    # set to false, and the sender domain of the event does not match the sender domain of the
    # create event, reject.
    if not creation.is_federatable:
        home = server_name_of(creation.sender)
        if server_name_of(event.sender) != home:
            raise AuthRefusal(AuthRule.FEDERATE, "The room is not open to other servers")


def _check_aliases(event: Event) -> None:
    # If event has no state_key, reject.
    if event.state_key is None:
        raise AuthRefusal(AuthRule.ALIASES_STATE_KEY, "An aliases event must have a state key")
    # If sender's domain doesn't match state_key, reject. Otherwise, allow.
    if server_name_of(event.sender) != event.state_key:
        raise AuthRefusal(AuthRule.ALIASES_DOMAIN, "A server may list only aliases of its own")


def _check_levels(event: Event, context: AuthContext) -> None:
    levels = context.power_levels
    # If the event type's required power level is greater than the sender's power level, reject.
    if not levels.may_send(event.sender, event.type, is_state=event.is_state):
        raise AuthRefusal(AuthRule.EVENT_LEVEL, f"Your power level is too low for {event.type}")
    # If the event has a state_key that starts with an @ and does not match the sender, reject.
    state_key = event.state_key
    if state_key is not None and state_key.startswith("@") and state_key != event.sender:
        raise AuthRefusal(AuthRule.EVENT_STATE_KEY, "The state key belongs to another user")
    # If type is m.room.power_levels: …
    if event.type == "m.room.power_levels":
        check_power_levels(event, context)
    # If type is m.room.redaction: … (Before version 3.)
    elif event.type == "m.room.redaction" and context.rules.redactions_in_auth_rules:
        check_redaction(event, context)
    # Otherwise, allow.
