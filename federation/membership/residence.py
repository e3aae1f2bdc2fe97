"""Letting users of other servers into rooms of this one: templates, and the events made of them.

Spec: server-server-api/#joining-rooms, #knocking-rooms, #leaving-rooms-rejecting-invites
"""

from collections.abc import Collection
from typing import Final

from federation.membership.handshake import Signature
from federation.membership.template import AUTHORISING_USER
from homeserver.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    NotFound,
    UnableToAuthoriseJoin,
)
from homeserver.ports import EventSignatures
from homeserver.protocol.errors import InvalidEvent, InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.hashing import has_valid_content_hash
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    ServerName,
    UserID,
    parse_user_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.signing import sign_event
from homeserver.rooms.build import EventBuilder
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.rooms.restricted import RestrictedJoins

_NOT_IN_TEMPLATES: Final = ("event_id", "hashes", "signatures")


class RoomsHere:
    """The rooms of this server, for servers that are not in them."""

    def __init__(self, heads: Heads, acls: ServerAcls) -> None:
        self._heads = heads
        self._acls = acls

    async def room(self, origin: ServerName, room_id: RoomID) -> RoomHead:
        """Return a room that a server may ask to get into. Raises NotFound, Forbidden.

        As it is stored: events that are made of a template must find there what they cite.
        """
        head = await self._heads.committed(room_id)
        if head is None or not head.local_joined:
            raise NotFound("This server is not in the room")
        if not await self._acls.allows(head, origin):
            raise Forbidden("Your server is banned from this room")
        return head


class Templates:
    """Makes templates of membership events."""

    def __init__(
        self, rooms: RoomsHere, heads: Heads, builder: EventBuilder, restricted: RestrictedJoins
    ) -> None:
        self._rooms = rooms
        self._heads = heads
        self._builder = builder
        self._restricted = restricted

    async def join(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, versions: Collection[str]
    ) -> JsonObject:
        """Return the answer to `make_join`.

        Raises NotFound, Forbidden, AuthRefusal, IncompatibleRoomVersion, UnableToAuthoriseJoin,
        UnableToGrantJoin.
        """
        head = await self._whole_room(origin, room_id, user_id, versions)
        content: JsonObject = {"membership": "join"}
        if await self.needs_authority(head, user_id):
            content[AUTHORISING_USER] = self._restricted.authority(head)
        return await self._made(head, user_id, content)

    async def knock(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, versions: Collection[str]
    ) -> JsonObject:
        """Return the answer to `make_knock`; raises the same."""
        head = await self._whole_room(origin, room_id, user_id, versions)
        if not head.rules.knocking:
            raise Forbidden("This room does not support knocking")
        return await self._made(head, user_id, {"membership": "knock"})

    async def leave(self, origin: ServerName, room_id: RoomID, user_id: UserID) -> JsonObject:
        """Return the answer to `make_leave`. Raises NotFound, Forbidden, AuthRefusal."""
        _check_own(origin, user_id)
        head = await self._rooms.room(origin, room_id)
        check_known(head, user_id)
        return await self._made(head, user_id, {"membership": "leave"})

    async def needs_authority(self, head: RoomHead, user_id: UserID) -> bool:
        """Whether a user of another server comes in only because of another room, and may.

        Raises Forbidden: no condition holds; UnableToAuthoriseJoin: this server cannot tell.
        """
        if not head.join_rules.admits_authorised:
            return False
        if head.membership_of(user_id) in ("invite", "join", "ban"):
            return False
        is_unknown = False
        for room_id in head.join_rules.allowed_rooms():
            allowed = await self._heads.head(room_id)
            if allowed is None or not allowed.local_joined or allowed.is_partial_state:
                is_unknown = True
            elif allowed.membership_of(user_id) == "join":
                return True
        if is_unknown:
            raise UnableToAuthoriseJoin
        raise Forbidden("The user is not in any of the rooms whose members may join")

    async def _whole_room(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, versions: Collection[str]
    ) -> RoomHead:
        _check_own(origin, user_id)
        head = await self._rooms.room(origin, room_id)
        if head.rules.version not in versions:
            raise IncompatibleRoomVersion(head.rules.version)
        check_whole(head)
        return head

    async def _made(self, head: RoomHead, user_id: UserID, content: JsonObject) -> JsonObject:
        draft = EventDraft(
            type="m.room.member",
            sender=user_id,
            content=content,
            room_id=head.room_id,
            state_key=user_id,
        )
        # The rules judge it as the event that it may become.
        event = await self._builder.propose(head, draft)
        template = {key: each for key, each in event.pdu.items() if key not in _NOT_IN_TEMPLATES}
        return {"room_version": head.rules.version, "event": template}


class SubmittedEvents:
    """Reads the events that other servers have made of templates."""

    def __init__(
        self, templates: Templates, signatures: EventSignatures, signature: Signature
    ) -> None:
        self._templates = templates
        self._signatures = signatures
        self._signature = signature

    async def read(
        self, origin: ServerName, head: RoomHead, event_id: EventID, pdu: JsonObject, *, kind: str
    ) -> Event:
        """Return a user's own membership event of a kind, with all the signatures that it needs.

        Raises InvalidParam; Forbidden, UnableToAuthoriseJoin: a restricted join without a reason.
        """
        try:
            event = complete_event(pdu, head.rules)
        except InvalidEvent as error:
            raise InvalidParam(str(error)) from None
        if (event.event_id, event.room_id) != (event_id, head.room_id):
            raise InvalidParam("The event has another ID, or is of another room, than the path")
        if event.membership != kind:
            raise InvalidParam(f"The event must be an m.room.member event with membership {kind}")
        if event.state_key != event.sender:
            raise InvalidParam("state_key must be the sender")
        if server_name_of(event.sender) != origin:
            raise InvalidParam("The sender must be a user of your server")
        if kind == "join" and head.rules.restricted_joins and AUTHORISING_USER in event.content:
            event = await self._authorised(event, head)
        if event.event_id not in await self._signatures.verify_events([event]):
            raise InvalidParam("A signature of the event is missing or wrong")
        return event

    async def _authorised(self, event: Event, head: RoomHead) -> Event:
        """Add this server's signature to a join that a user of it authorizes, if it is due.

        Whether that user may authorize it the rules ask for themselves.
        """
        if _server_of(event.content[AUTHORISING_USER]) != self._signature.server_name:
            return event
        if not await self._templates.needs_authority(head, event.sender):
            raise InvalidParam("Nobody of this server has to authorize the join")
        pdu = sign_event(event.pdu, head.rules, *self._signature)
        return event_from_pdu(pdu, head.rules)


def check_whole(head: RoomHead) -> None:
    """Raises NotFound: as long as most members are not known here, others have to be asked."""
    if head.is_partial_state:
        raise NotFound("This server does not know all of the room yet")


def check_known(head: RoomHead, user_id: UserID) -> None:
    """Do the same for who wants out, unless the user's membership is known."""
    if head.membership_of(user_id) is None:
        check_whole(head)


def complete_event(pdu: JsonValue, rules: RoomVersionRules) -> Event:
    """Make an event of a PDU that is signed or answered here. Raises InvalidEvent.

    A wrong content hash is an error then: what is signed would not be what others see.
    """
    event = event_from_pdu(pdu, rules)
    if not has_valid_content_hash(event.pdu, rules):
        raise InvalidEvent("the content hash is wrong")
    return event


def _check_own(origin: ServerName, user_id: UserID) -> None:
    if server_name_of(user_id) != origin:
        raise Forbidden("The user is not of your server")


def _server_of(user_id: JsonValue) -> ServerName | None:
    try:
        return server_name_of(parse_user_id(user_id)) if isinstance(user_id, str) else None
    except InvalidIdentifier:
        return None
