"""Invites of users of this server by users of others.

Spec: server-server-api/#inviting-to-a-room
"""

from typing import Final

from federation.membership.handshake import Signature
from federation.membership.residence import complete_event
from federation.membership.room_previews import RoomPreviews
from homeserver.errors import Forbidden, IncompatibleRoomVersion, InvalidParam, MissingParam
from homeserver.ports import EventSignatures
from homeserver.protocol.errors import (
    InvalidEvent,
    InvalidIdentifier,
    InvalidJson,
    UnsupportedRoomVersion,
)
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    ServerName,
    UserID,
    parse_user_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules, rules_of
from homeserver.protocol.signing import sign_event
from homeserver.rooms.heads import Heads
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.services.accounts import Accounts
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_STRIPPED: Final = ("content", "sender", "state_key", "type")


class IncomingInvites:
    """Signs invites and shows them to the invited."""

    def __init__(
        self,
        heads: Heads,
        acls: ServerAcls,
        signatures: EventSignatures,
        previews: RoomPreviews,
        permissions: InvitePermissions,
        accounts: Accounts,
        outside: OutsideMemberships,
        signature: Signature,
    ) -> None:
        self._heads = heads
        self._acls = acls
        self._signatures = signatures
        self._previews = previews
        self._permissions = permissions
        self._accounts = accounts
        self._outside = outside
        self._signature = signature

    async def take(
        self,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        *,
        room_version: str,
        pdu: JsonObject,
        state: JsonValue,
    ) -> JsonObject:
        """Return the invite with this server's signature; the user sees it now.

        Raises InvalidParam, MissingParam, IncompatibleRoomVersion, Forbidden, InviteBlocked.
        """
        try:
            rules = rules_of(room_version)
        except UnsupportedRoomVersion:
            raise IncompatibleRoomVersion(room_version) from None
        event = await self._checked(origin, room_id, event_id, pdu, rules)
        target = UserID(event.state_key or "")
        await self._check_welcome(origin, event, target)
        stripped = await self._description(state, room_id, rules)
        signed = sign_event(pdu, rules, *self._signature)
        head = await self._heads.head(room_id)
        # Where this server is in the room, the invite comes as an event of the room as well.
        if head is None or not head.local_joined:
            own = {name: event.pdu[name] for name in _STRIPPED}
            await self._outside.begin(
                target,
                room_id,
                rules,
                membership="invite",
                sender=event.sender,
                stripped_state=[*stripped, own],
                invite=event,
            )
        return signed

    async def _checked(
        self,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        pdu: JsonObject,
        rules: RoomVersionRules,
    ) -> Event:
        """Check that it is an invite and nothing else. Raises InvalidParam."""
        try:
            event = complete_event(pdu, rules)
            target = parse_user_id(event.state_key or "")
        except (InvalidEvent, InvalidJson, InvalidIdentifier) as error:
            raise InvalidParam(str(error)) from None
        if (event.event_id, event.room_id) != (event_id, room_id):
            raise InvalidParam("The event has another ID, or is of another room, than the path")
        if event.membership != "invite":
            raise InvalidParam("The event must be an m.room.member event with membership invite")
        if server_name_of(event.sender) != origin:
            raise InvalidParam("The sender must be a user of your server")
        if server_name_of(target) != self._signature.server_name:
            raise InvalidParam("state_key must be a user of this server")
        if event.event_id not in await self._signatures.verify_events([event]):
            raise InvalidParam("A signature of the event is missing or wrong")
        return event

    async def _check_welcome(self, origin: ServerName, event: Event, target: UserID) -> None:
        """Raises Forbidden, InviteBlocked: the room, the user or the server does not want it."""
        head = await self._heads.head(event.room_id)
        if head is not None and head.local_joined and not await self._acls.allows(head, origin):
            raise Forbidden("Your server is banned from this room")
        account = await self._accounts.get(target)
        if account is None or account.deactivated_ts is not None:
            raise Forbidden("The user cannot be invited")
        await self._permissions.check(event.sender, target)

    async def _description(
        self, state: JsonValue, room_id: RoomID, rules: RoomVersionRules
    ) -> list[JsonObject]:
        """Return the stripped state. Raises InvalidParam, MissingParam."""
        # "servers SHOULD warn about invites which fail the validation rather than error in room
        # versions 1 through 11."
        if not rules.room_id_is_create_hash:
            found = await self._previews.lenient(state, room_id, rules)
            if not any(each["type"] == "m.room.create" for each in found):
                log.warning("invite without the room's create event", room_id=room_id)
            return found
        if state is None:
            raise MissingParam("invite_room_state must describe the room")
        try:
            return await self._previews.strict(state, room_id, rules)
        except (InvalidEvent, InvalidJson) as error:
            raise InvalidParam(str(error)) from None
