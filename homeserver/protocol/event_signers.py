"""Which servers must have signed an event.

Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
"""

from typing import Final

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName, parse_user_id, server_name_of
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules

_AUTHORIZING_USER: Final = "join_authorised_via_users_server"


def required_signers(event: Event, rules: RoomVersionRules) -> frozenset[ServerName] | None:
    """Return the servers whose signatures an event must carry; None: it can be signed by none.

    None where the authorizing user of a restricted join is no user ID. The set is empty for an
    invite by a third-party identifier since room version 3.
    """
    signers: set[ServerName] = set()
    # "If the event is a 3rd party invite, the sender must already match the 3rd party invite,
    # and the server which actually sends the event may be a different server."
    if not _answers_third_party_invite(event):
        signers.add(server_name_of(event.sender))
    # "Room versions 1 and 2 also require that a signature is present from the domain in the
    # event_id, if it differs from the originating server."
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        signers.add(server_name_of(event.event_id))
    # rooms/v8/#authorization-rules 4.2: "If the event is not validly signed by the homeserver of
    # the user ID denoted by the key, reject."
    is_member = event.type == "m.room.member"
    if rules.restricted_joins and is_member and _AUTHORIZING_USER in event.content:
        server = _authorizing_server(event)
        if server is None:
            return None
        signers.add(server)
    return frozenset(signers)


def _authorizing_server(event: Event) -> ServerName | None:
    user_id = event.content[_AUTHORIZING_USER]
    try:
        return server_name_of(parse_user_id(user_id)) if isinstance(user_id, str) else None
    except InvalidIdentifier:
        return None


def _answers_third_party_invite(event: Event) -> bool:
    return event.membership == "invite" and isinstance(
        event.content.get("third_party_invite"), dict
    )
