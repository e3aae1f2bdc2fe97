"""The names of the authorization rules, as `AuthRefusal.rule` carries them.

One name for each rule that refuses. Rule numbers differ between room versions; names do not.
"""

from enum import StrEnum


class AuthRule(StrEnum):
    """A rule that can refuse an event."""

    CREATE_PREV_EVENTS = "create.prev_events"
    CREATE_ROOM_ID_DOMAIN = "create.room_id_domain"
    CREATE_ROOM_ID_PRESENT = "create.room_id_present"
    CREATE_ROOM_VERSION = "create.room_version"
    CREATE_CREATOR = "create.creator"
    CREATE_ADDITIONAL_CREATORS = "create.additional_creators"

    # The room has no accepted create event, or the one at hand belongs to another room.
    ROOM_CREATE = "room.create"

    AUTH_EVENTS_DUPLICATE = "auth_events.duplicate"
    AUTH_EVENTS_EXTRANEOUS = "auth_events.extraneous"
    AUTH_EVENTS_REJECTED = "auth_events.rejected"
    AUTH_EVENTS_NO_CREATE = "auth_events.no_create"
    AUTH_EVENTS_OTHER_ROOM = "auth_events.other_room"
    # Not in the specification's list: an auth event is not at hand, so nothing can be judged.
    AUTH_EVENTS_UNKNOWN = "auth_events.unknown"

    FEDERATE = "federate"

    ALIASES_STATE_KEY = "aliases.state_key"
    ALIASES_DOMAIN = "aliases.domain"

    MEMBER_STATE_KEY = "member.state_key"
    MEMBER_MEMBERSHIP = "member.membership"
    MEMBER_AUTHORISING_SIGNATURE = "member.authorising_signature"
    MEMBER_UNKNOWN = "member.unknown"

    JOIN_SENDER = "member.join.sender"
    JOIN_BANNED = "member.join.banned"
    JOIN_NOT_INVITED = "member.join.not_invited"
    JOIN_AUTHORISING_USER = "member.join.authorising_user"
    JOIN_RULE = "member.join.rule"

    INVITE_SENDER = "member.invite.sender"
    INVITE_TARGET = "member.invite.target"
    INVITE_LEVEL = "member.invite.level"

    THIRD_PARTY_BANNED = "member.invite.third_party.banned"
    THIRD_PARTY_SIGNED = "member.invite.third_party.signed"
    THIRD_PARTY_UNADDRESSED = "member.invite.third_party.mxid_and_token"
    THIRD_PARTY_MXID = "member.invite.third_party.mxid"
    THIRD_PARTY_UNKNOWN = "member.invite.third_party.token"
    THIRD_PARTY_SENDER = "member.invite.third_party.sender"
    THIRD_PARTY_SIGNATURE = "member.invite.third_party.signature"

    LEAVE_OWN = "member.leave.own"
    LEAVE_SENDER = "member.leave.sender"
    LEAVE_UNBAN = "member.leave.unban"
    LEAVE_LEVEL = "member.leave.level"

    BAN_SENDER = "member.ban.sender"
    BAN_LEVEL = "member.ban.level"

    KNOCK_RULE = "member.knock.rule"
    KNOCK_SENDER = "member.knock.sender"
    KNOCK_MEMBERSHIP = "member.knock.membership"

    SENDER_NOT_JOINED = "sender.not_joined"
    THIRD_PARTY_INVITE_LEVEL = "third_party_invite.level"
    EVENT_LEVEL = "event.level"
    EVENT_STATE_KEY = "event.state_key"

    POWER_LEVELS_DEFAULTS = "power_levels.defaults"
    POWER_LEVELS_ENTRIES = "power_levels.entries"
    POWER_LEVELS_USERS = "power_levels.users"
    POWER_LEVELS_CREATORS = "power_levels.creators"
    POWER_LEVELS_DEFAULT_CURRENT = "power_levels.default_current"
    POWER_LEVELS_DEFAULT_NEW = "power_levels.default_new"
    POWER_LEVELS_ENTRY_CURRENT = "power_levels.entry_current"
    POWER_LEVELS_ENTRY_NEW = "power_levels.entry_new"
    POWER_LEVELS_USER_CURRENT = "power_levels.user_current"
    POWER_LEVELS_USER_NEW = "power_levels.user_new"

    REDACTION_DOMAIN = "redaction.domain"
