"""Who may redact what.

Before version 3 an authorization rule; later a condition for applying the redaction.
"""

from homeserver.protocol.auth_rules.context import AuthContext
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.errors import AuthRefusal, InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.power_levels import PowerLevels


def check_redaction(event: Event, context: AuthContext) -> None:
    """Judge a redaction in versions 1 and 2. Raises AuthRefusal."""
    # If the sender's power level is greater than or equal to the redact level, allow.
    if context.power_levels.may_redact(event.sender):
        return
    # If the domain of the event_id of the event being redacted is the same as the domain of
    # the event_id of the m.room.redaction, allow. Otherwise, reject.
    if not _is_of_same_server(event):
        raise AuthRefusal(AuthRule.REDACTION_DOMAIN, "You may not redact the events of others")


def may_apply_redaction(redaction: Event, redacted: Event, power_levels: PowerLevels) -> bool:
    """Whether an accepted redaction takes effect on the event it names.

    `power_levels` are those at the redaction. In versions 1 and 2 the authorization rules
    have decided already. Both events must be of the same room: an ID says nothing about that.
    Spec: rooms/v3/#handling-redactions
    """
    if redaction.redacts != redacted.event_id or redaction.room_id != redacted.room_id:
        return False
    return (
        power_levels.rules.redactions_in_auth_rules
        or power_levels.may_redact(redaction.sender)
        or server_name_of(redaction.sender) == server_name_of(redacted.sender)
    )


def _is_of_same_server(event: Event) -> bool:
    if event.redacts is None:
        return False
    try:
        return server_name_of(event.redacts) == server_name_of(event.event_id)
    except InvalidIdentifier:
        return False
