"""Turning invites by an address into invites of users.

Spec: server-server-api/#third-party-invites
"""

from collections.abc import Sequence
from typing import Final

from homeserver.errors import Forbidden
from homeserver.ports import MemberProfiles, RoomPeers
from homeserver.protocol.event import Event
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import RoomID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.build import Built, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.write import RoomWriter

THIRD_PARTY_INVITE: Final = "m.room.third_party_invite"


class ThirdPartyMembership:
    """Writes the membership events that answer invites by an address."""

    def __init__(
        self,
        writer: RoomWriter,
        heads: Heads,
        cache: EventCache,
        profiles: MemberProfiles,
        peers: RoomPeers,
        permissions: InvitePermissions,
        server_name: ServerName,
    ) -> None:
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._profiles = profiles
        self._peers = peers
        self._permissions = permissions
        self._server_name = server_name

    async def is_here(self, room_id: RoomID) -> bool:
        """Whether users of this server are joined to a room, so that it can write to it."""
        head = await self._heads.head(room_id)
        return head is not None and bool(head.local_joined)

    async def membership_of(self, room_id: RoomID, user_id: UserID) -> str | None:
        """Return a user's membership of a room that this server knows."""
        head = await self._heads.head(room_id)
        return None if head is None else head.membership_of(user_id)

    async def pending(self, room_id: RoomID, token: str) -> Event | None:
        """Return a room's invite of whoever can have a token signed."""
        head = await self._heads.head(room_id)
        entry = None if head is None else head.state.get((THIRD_PARTY_INVITE, token))
        if entry is None:
            return None
        return (await self._cache.get([entry.event_nid])).get(entry.event_nid)

    async def issue(self, room_id: RoomID, pending: Event, signed: JsonObject) -> None:
        """Invite the user that an identity server has signed for, in the name of the inviter.

        The inviter may be of another server: "the server which actually sends the event may be a
        different server". Nothing happens when the user is in the room or invited. Raises
        AuthRefusal: the signature fits no key of the invite, and whatever else forbids it;
        InviteBlocked; what `RoomPeers.invite` raises.
        """
        target = UserID(signed["mxid"])
        name = pending.content.get("display_name")
        content: JsonObject = {
            "membership": "invite",
            "third_party_invite": {
                "display_name": name if isinstance(name, str) else "",
                "signed": signed,
            },
        }
        if server_name_of(target) != self._server_name:
            await self._peers.invite(pending.sender, target, room_id, content)
            return
        await self._permissions.check(pending.sender, target)
        full = {**await self._profiles.member_fields(target), **content}
        draft = EventDraft(
            type="m.room.member",
            sender=pending.sender,
            content=full,
            room_id=room_id,
            state_key=target,
        )

        async def build(head: RoomHead) -> Sequence[Built]:
            if not head.local_joined:
                raise Forbidden("This server is not in the room")
            if head.membership_of(target) in ("invite", "join"):
                return []
            return [await self._writer.builder.build(head, draft, Sent())]

        await self._writer.write(room_id, build)
