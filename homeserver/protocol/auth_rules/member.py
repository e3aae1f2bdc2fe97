"""The rules for `m.room.member`: joining, inviting, leaving, banning, knocking."""

from collections.abc import Callable
from typing import Final

from homeserver.protocol.auth_rules.context import AuthContext
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.auth_rules.third_party_invite import check_third_party_invite
from homeserver.protocol.errors import AuthRefusal, InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName, UserID, parse_user_id, server_name_of

_AUTHORISING_USER: Final = "join_authorised_via_users_server"


def check_member(event: Event, context: AuthContext) -> None:
    """Judge a change of membership, except for who signed it. Raises AuthRefusal."""
    # If there is no state_key property, or no membership property in content, reject.
    if event.state_key is None:
        raise AuthRefusal(AuthRule.MEMBER_STATE_KEY, "A membership event must have a state key")
    if "membership" not in event.content:
        raise AuthRefusal(AuthRule.MEMBER_MEMBERSHIP, "A membership event must say which")
    membership = event.membership
    check = None if membership is None else _CHECKS.get(membership)
    # Otherwise, the membership is unknown. Reject.
    if check is None or (check is _check_knock and not context.rules.knocking):
        raise AuthRefusal(AuthRule.MEMBER_UNKNOWN, "The membership is unknown")
    # A state key is a user ID by its place only: the rules compare it and look it up, no more.
    check(event, UserID(event.state_key), context)


def check_authorising_signature(event: Event, signed_by: Callable[[ServerName], bool]) -> None:
    """Judge a member event by the server that must have signed it. Version 8 and later.

    It applies to every membership, as the rules say, not only to joins. Raises AuthRefusal.
    """
    # If content has a join_authorised_via_users_server property: if the event is not validly
    # signed by the homeserver of the user ID denoted by the key, reject.
    if _AUTHORISING_USER not in event.content:
        return
    authorising_user = _authorising_user(event)
    if authorising_user is None or not signed_by(server_name_of(authorising_user)):
        raise AuthRefusal(
            AuthRule.MEMBER_AUTHORISING_SIGNATURE,
            "The server of the user who authorised the join has not signed it",
        )


def _authorising_user(event: Event) -> UserID | None:
    stated = event.content.get(_AUTHORISING_USER)
    try:
        return parse_user_id(stated) if isinstance(stated, str) else None
    except InvalidIdentifier:
        return None


def _check_join(event: Event, target: UserID, context: AuthContext) -> None:
    # If the only previous event is an m.room.create and the state_key is the creator, allow.
    creation = context.creation
    if event.prev_events == (creation.event_id,) and target == creation.creator:
        return
    # If the sender does not match state_key, reject.
    if event.sender != target:
        raise AuthRefusal(AuthRule.JOIN_SENDER, "You cannot make another user join")
    # If the sender is banned, reject.
    membership = context.membership_of(target)
    if membership == "ban":
        raise AuthRefusal(AuthRule.JOIN_BANNED, "You are banned from the room")
    join_rules = context.join_rules
    # If the join_rule is public, allow.
    if join_rules.is_public:
        return
    # If the join_rule is invite or knock, or restricted or knock_restricted, then allow if
    # membership state is invite or join. (knock from version 7, restricted from 8.)
    if join_rules.admits_invited:
        if membership in ("invite", "join"):
            return
        if join_rules.admits_authorised:
            _check_authorising_user(event, context)
            return
        raise AuthRefusal(AuthRule.JOIN_NOT_INVITED, "You are not invited to the room")
    # Otherwise, reject.
    raise AuthRefusal(AuthRule.JOIN_RULE, "The join rule of the room lets nobody in")


def _check_authorising_user(event: Event, context: AuthContext) -> None:
    # If the join_authorised_via_users_server key in content is not a user with sufficient
    # permission to invite other users or is not a joined member of the room, reject.
    # Otherwise, allow.
    user_id = _authorising_user(event)
    if (
        user_id is None
        or context.membership_of(user_id) != "join"
        or not context.power_levels.may_invite(user_id)
    ):
        raise AuthRefusal(
            AuthRule.JOIN_AUTHORISING_USER,
            "You are not invited, and nobody who may invite has authorised the join",
        )


def _check_invite(event: Event, target: UserID, context: AuthContext) -> None:
    # If content has a third_party_invite property: …
    if "third_party_invite" in event.content:
        check_third_party_invite(event, target, context)
        return
    # If the sender's current membership state is not join, reject.
    if context.membership_of(event.sender) != "join":
        raise AuthRefusal(AuthRule.INVITE_SENDER, "You are not in the room")
    # If target user's current membership state is join or ban, reject.
    if context.membership_of(target) in ("join", "ban"):
        raise AuthRefusal(AuthRule.INVITE_TARGET, "The user is in the room or banned from it")
    # If the sender's power level is greater than or equal to the invite level, allow.
    # Otherwise, reject.
    if not context.power_levels.may_invite(event.sender):
        raise AuthRefusal(AuthRule.INVITE_LEVEL, "Your power level is too low to invite")


def _check_leave(event: Event, target: UserID, context: AuthContext) -> None:
    # If the sender matches state_key, allow if and only if that user's current membership
    # state is invite, join, or knock. (knock from version 7 on; before it no user has it.)
    if event.sender == target:
        if context.membership_of(target) not in ("invite", "join", "knock"):
            raise AuthRefusal(AuthRule.LEAVE_OWN, "You are not in the room")
        return
    # If the sender's current membership state is not join, reject.
    if context.membership_of(event.sender) != "join":
        raise AuthRefusal(AuthRule.LEAVE_SENDER, "You are not in the room")
    # If the target user's current membership state is ban, and the sender's power level is
    # less than the ban level, reject.
    levels = context.power_levels
    if context.membership_of(target) == "ban" and levels.of_user(event.sender) < levels.ban:
        raise AuthRefusal(AuthRule.LEAVE_UNBAN, "Your power level is too low to unban")
    # If the sender's power level is greater than or equal to the kick level, and the target
    # user's power level is less than the sender's power level, allow. Otherwise, reject.
    if not levels.may_kick(event.sender, target):
        raise AuthRefusal(AuthRule.LEAVE_LEVEL, "Your power level is too low to kick the user")


def _check_ban(event: Event, target: UserID, context: AuthContext) -> None:
    # If the sender's current membership state is not join, reject.
    if context.membership_of(event.sender) != "join":
        raise AuthRefusal(AuthRule.BAN_SENDER, "You are not in the room")
    # If the sender's power level is greater than or equal to the ban level, and the target
    # user's power level is less than the sender's power level, allow. Otherwise, reject.
    if not context.power_levels.may_ban(event.sender, target):
        raise AuthRefusal(AuthRule.BAN_LEVEL, "Your power level is too low to ban the user")


def _check_knock(event: Event, target: UserID, context: AuthContext) -> None:
    # If the join_rule is anything other than knock or knock_restricted, reject.
    if not context.join_rules.admits_knocks:
        raise AuthRefusal(AuthRule.KNOCK_RULE, "The room does not take knocks")
    # If sender does not match state_key, reject.
    if event.sender != target:
        raise AuthRefusal(AuthRule.KNOCK_SENDER, "You cannot knock for another user")
    # If the sender's current membership is not ban, invite, or join, allow. Otherwise, reject.
    if context.membership_of(target) in ("ban", "invite", "join"):
        raise AuthRefusal(AuthRule.KNOCK_MEMBERSHIP, "You are in the room, invited, or banned")


_CHECKS: Final[dict[str, Callable[[Event, UserID, AuthContext], None]]] = {
    "join": _check_join,
    "invite": _check_invite,
    "leave": _check_leave,
    "ban": _check_ban,
    "knock": _check_knock,
}
