"""Inviting people by their addresses, and being invited by one's own.

Spec: client-server-api/#third-party-invites
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.errors import Forbidden, InvalidParam, MatrixError, RemoteError
from homeserver.ports import InviteExchange, MemberProfiles
from homeserver.protocol.auth_rules.third_party_invite import matching_keys
from homeserver.protocol.errors import InvalidIdentifier, ProtocolError
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import (
    RoomID,
    ServerName,
    UserID,
    parse_user_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.third_party_ids import canonical_address
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import CREATE, JOIN_RULES, RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import Memberships
from homeserver.rooms.send import SendEvent
from homeserver.rooms.third_party_membership import THIRD_PARTY_INVITE, ThirdPartyMembership
from homeserver.services.identity_servers import IdentityServer, IdentityServers, StoredInvite
from homeserver.telemetry.log import get_logger
from homeserver.web.requester import Requester

log = get_logger(__name__)

# What an identity server is told of a room, so that its mail can say where one is invited.
_ROOM_FACTS: Final[Sequence[tuple[str, StateKey, str]]] = (
    ("room_alias", ("m.room.canonical_alias", ""), "alias"),
    ("room_avatar_url", ("m.room.avatar", ""), "url"),
    ("room_join_rules", JOIN_RULES, "join_rule"),
    ("room_name", ("m.room.name", ""), "name"),
    ("room_type", CREATE, "type"),
)


class Invitee(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an address, and the identity server that may know who it is."""

    id_server: str
    id_access_token: str
    medium: str
    address: str


class BoundInvite(msgspec.Struct, frozen=True, kw_only=True):
    """An invite that an identity server has kept for an address that is now bound."""

    mxid: UserID
    room_id: RoomID
    sender: UserID
    signed: JsonObject


class ThirdPartyInvites:
    """Invites by address, and turns such invites into those of users."""

    def __init__(
        self,
        servers: IdentityServers,
        third_party: ThirdPartyMembership,
        memberships: Memberships,
        send: SendEvent,
        heads: Heads,
        cache: EventCache,
        profiles: MemberProfiles,
        exchange: InviteExchange,
        server_name: ServerName,
    ) -> None:
        self._servers = servers
        self._third_party = third_party
        self._memberships = memberships
        self._send = send
        self._heads = heads
        self._cache = cache
        self._profiles = profiles
        self._exchange = exchange
        self._server_name = server_name

    def check(self, invitees: Iterable[Invitee]) -> None:
        """Raises ServerNotTrusted, InvalidParam: one of them cannot be invited."""
        for invitee in invitees:
            self._servers.check_trusted(invitee.id_server)
            _canonical(invitee)

    async def invite(
        self, requester: Requester, room_id: RoomID, invitee: Invitee, content: JsonObject
    ) -> None:
        """Invite the user who has bound an address, or whoever will.

        `content` is further content of a membership event. Raises ServerNotTrusted,
        InvalidParam, Forbidden; MatrixError: what the identity server refuses with; RemoteError.
        """
        self.check([invitee])
        medium, address = _canonical(invitee)
        head = await self._heads.head(room_id)
        # Before an identity server learns of it.
        if head is None or head.membership_of(requester.user_id) != "join":
            raise Forbidden("You are not in this room")
        if not head.power_levels.may_invite(requester.user_id):
            raise Forbidden("You may not invite to this room")
        server = IdentityServer(invitee.id_server, invitee.id_access_token)
        known = await self._servers.lookup(server, medium, address)
        if known is not None:
            await self._memberships.invite(requester, room_id, known, content)
            return
        facts = await self._facts(head, requester.user_id)
        wanted = {"medium": medium, "address": address, "room_id": room_id, **facts}
        stored = await self._servers.store_invite(server, wanted)
        await self._send.state(
            requester, room_id, THIRD_PARTY_INVITE, stored.token, _invite_content(stored)
        )

    async def accept(
        self, requester: Requester, room_id: RoomID, signed: JsonObject
    ) -> ServerName | None:
        """Take up an invite by an address, with what an identity server has signed, and more.

        The user is invited then, and may join. Returns the inviter's server when the room is
        elsewhere. Raises Forbidden, AuthRefusal, InvalidParam, MatrixError, RemoteError.
        """
        _check_signed(signed)
        if signed["mxid"] != requester.user_id:
            raise Forbidden("The invite was signed for another user")
        if await self._third_party.is_here(room_id):
            membership = await self._third_party.membership_of(room_id, requester.user_id)
            if membership not in ("invite", "join"):
                await self._issue(room_id, signed)
            return None
        sender = _user_id(signed.get("sender"), "third_party_signed.sender")
        invite = BoundInvite(mxid=requester.user_id, room_id=room_id, sender=sender, signed=signed)
        await self._ask_inviter(invite)
        return server_name_of(sender)

    async def bound(self, user_id: UserID, invites: Sequence[BoundInvite]) -> None:
        """Invite a local user to where an address of the user was invited.

        For `PUT /3pid/onbind`, which nobody signs: each invite counts as far as its own
        signature fits the invite in the room. Those that cannot be had are logged.
        Spec: server-server-api/#put_matrixfederationv13pidonbind
        """
        if server_name_of(user_id) != self._server_name:
            raise Forbidden("The user is not of this server")
        for invite in invites:
            try:
                _check_signed(invite.signed)
                if invite.mxid != user_id or invite.signed["mxid"] != user_id:
                    raise Forbidden("The invite was signed for another user")
                if await self._third_party.is_here(invite.room_id):
                    await self._issue(invite.room_id, invite.signed)
                else:
                    await self._ask_inviter(invite)
            except (MatrixError, RemoteError, ProtocolError) as error:
                log.warning("invite by address not taken up", reason=str(error))

    async def exchange(self, room_id: RoomID, event: JsonObject) -> None:
        """Invite a user whom another server presents with a partial membership event.

        For `PUT /exchange_third_party_invite/{roomId}`. Raises InvalidParam, Forbidden,
        AuthRefusal, MatrixError, RemoteError.
        Spec: server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
        """
        content = event.get("content")
        invite = content.get("third_party_invite") if isinstance(content, dict) else None
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if not isinstance(content, dict) or content.get("membership") != "invite":
            raise InvalidParam("content must be that of an invite")
        if event.get("type") != "m.room.member" or event.get("room_id") != room_id:
            raise InvalidParam("type must be m.room.member, and room_id that of the path")
        if not isinstance(signed, dict):
            raise InvalidParam("content.third_party_invite needs signed")
        _check_signed(signed)
        if event.get("state_key") != signed["mxid"]:
            raise InvalidParam("state_key must be the user that the invite was signed for")
        if not await self._third_party.is_here(room_id):
            raise Forbidden("This server is not in the room")
        await self._issue(room_id, signed, sender=event.get("sender"))

    async def _issue(self, room_id: RoomID, signed: JsonObject, *, sender: object = None) -> None:
        pending = await self._third_party.pending(room_id, signed["token"])
        if pending is None or sender not in (None, pending.sender):
            raise Forbidden("The room has no invite with this token, or not by this user")
        await self._check_keys(pending, signed)
        await self._third_party.issue(room_id, pending, signed)

    async def _check_keys(self, pending: Event, signed: JsonObject) -> None:
        """Refuse unless a key that has signed is still valid, says who made it."""
        for key in matching_keys(signed, pending.content):
            url = _validity_url(pending.content, key)
            if url is None or await self._servers.is_key_valid(url, key):
                return
        raise Forbidden("No valid key of the invite has signed for this user")

    async def _ask_inviter(self, invite: BoundInvite) -> None:
        event: JsonObject = {
            "type": "m.room.member",
            "room_id": invite.room_id,
            "sender": invite.sender,
            "state_key": invite.mxid,
            "content": {
                "membership": "invite",
                "third_party_invite": {"display_name": "", "signed": invite.signed},
            },
        }
        server = server_name_of(invite.sender)
        if server == self._server_name:
            raise Forbidden("The inviter is not in the room any more")
        await self._exchange.exchange_third_party_invite(server, invite.room_id, event)

    async def _facts(self, head: RoomHead, sender: UserID) -> JsonObject:
        """Return what an identity server is told beside the address."""
        entries = {name: head.state.get(key) for name, key, _ in _ROOM_FACTS}
        events = await self._cache.get(entry.event_nid for entry in entries.values() if entry)
        facts: JsonObject = {"sender": sender}
        for name, _, member in _ROOM_FACTS:
            entry = entries[name]
            event = events.get(entry.event_nid) if entry else None
            value = event.content.get(member) if event is not None else None
            if isinstance(value, str):
                facts[name] = value
        profile = await self._profiles.member_fields(sender)
        for name, member in (
            ("sender_display_name", "displayname"),
            ("sender_avatar_url", "avatar_url"),
        ):
            if isinstance(profile.get(member), str):
                facts[name] = profile[member]
        return facts


def _canonical(invitee: Invitee) -> tuple[str, str]:
    try:
        return invitee.medium, canonical_address(invitee.medium, invitee.address)
    except InvalidIdentifier as error:
        raise InvalidParam(f"address: {error}") from error


def _invite_content(stored: StoredInvite) -> JsonObject:
    first = stored.public_keys[0]
    return {
        "display_name": stored.display_name,
        # For servers that know one key only.
        "public_key": first.public_key,
        "key_validity_url": first.key_validity_url,
        "public_keys": [msgspec.to_builtins(key) for key in stored.public_keys],
    }


def _check_signed(signed: JsonObject) -> None:
    """Refuse what is no signed invite at all. Raises InvalidParam."""
    _user_id(signed.get("mxid"), "signed.mxid")
    if not isinstance(signed.get("token"), str) or not isinstance(signed.get("signatures"), dict):
        raise InvalidParam("signed needs mxid, token and signatures")


def _user_id(value: object, place: str) -> UserID:
    if not isinstance(value, str):
        raise InvalidParam(f"{place} must be a user ID")
    try:
        return parse_user_id(value)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{place}: {error}") from error


def _validity_url(content: JsonObject, public_key: str) -> str | None:
    """Return where a key of an invite can be checked; None: it is valid for ever."""
    listed = content.get("public_keys")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("public_key") == public_key:
            url = entry.get("key_validity_url")
            return url if isinstance(url, str) else None
    url = content.get("key_validity_url")
    return url if isinstance(url, str) else None
