"""Changing memberships: join, invite, leave, kick, ban, unban, knock, forget.

Spec: client-server-api/#room-membership
"""

from collections.abc import Callable, Sequence

from homeserver.errors import (
    Forbidden,
    GuestAccessForbidden,
    MatrixError,
    NotFound,
    UnableToGrantJoin,
)
from homeserver.ports import MemberProfiles, RoomPeers
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import (
    EventID,
    RoomID,
    ServerName,
    UserID,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.build import Built, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import GUEST_ACCESS, RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.restricted import RestrictedJoins
from homeserver.rooms.write import RoomWriter
from homeserver.web.requester import Requester


class Memberships:
    """Changes the memberships of rooms in the name of local users."""

    def __init__(
        self,
        writer: RoomWriter,
        heads: Heads,
        cache: EventCache,
        profiles: MemberProfiles,
        peers: RoomPeers,
        restricted: RestrictedJoins,
        permissions: InvitePermissions,
        server_name: ServerName,
    ) -> None:
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._profiles = profiles
        self._peers = peers
        self._restricted = restricted
        self._permissions = permissions
        self._server_name = server_name

    async def join(
        self,
        requester: Requester,
        room_id: RoomID,
        *,
        via: Sequence[ServerName] = (),
        content: JsonObject | None = None,
    ) -> None:
        """Join a room; nothing happens when the user is in it.

        `content` is further content of the membership event, such as a reason. Raises Forbidden,
        AuthRefusal, GuestAccessForbidden, NotFound, UnableToGrantJoin, RemoteError.
        """
        user_id = requester.user_id
        wanted = {**(content or {}), "membership": "join"}
        wanted = {**await self._profiles.member_fields(user_id), **wanted}
        head = await self._heads.head(room_id)
        if head is None or not self._is_here(head):
            await self._peers.join(user_id, room_id, via, wanted)
            return

        async def build(head: RoomHead) -> Sequence[Built]:
            if head.membership_of(user_id) == "join":
                return []
            if requester.is_guest:
                await self._check_guest_access(head)
            full = await self._restricted.authorised(head, user_id, wanted)
            return [await self._build(head, user_id, user_id, full, requester)]

        try:
            await self._writer.write(room_id, build)
        except UnableToGrantJoin as refusal:
            # A user of another server may be able to let this one in.
            try:
                await self._peers.join(user_id, room_id, via, wanted)
            except NotFound:
                raise refusal from None

    async def invite(
        self,
        requester: Requester,
        room_id: RoomID,
        target: UserID,
        content: JsonObject | None = None,
    ) -> None:
        """Invite a user; nothing happens when the user has been invited already.

        Raises InviteBlocked, Forbidden, AuthRefusal, NotFound, and what `RoomPeers.invite` raises.
        """
        wanted = {**(content or {}), "membership": "invite"}
        if server_name_of(target) != self._server_name:
            await self._peers.invite(requester.user_id, target, room_id, wanted)
            return
        await self._permissions.check(requester.user_id, target)
        wanted = {**await self._profiles.member_fields(target), **wanted}

        async def build(head: RoomHead) -> Sequence[Built]:
            is_member = head.membership_of(requester.user_id) == "join"
            if is_member and head.membership_of(target) == "invite":
                return []
            return [await self._build(head, requester.user_id, target, wanted, requester)]

        await self._writer.write(room_id, build)

    async def knock(
        self,
        requester: Requester,
        room_id: RoomID,
        *,
        via: Sequence[ServerName] = (),
        content: JsonObject | None = None,
    ) -> None:
        """Ask to be let in; nothing happens when the user has asked already."""
        user_id = requester.user_id
        wanted = {**await self._profiles.member_fields(user_id), **(content or {})}
        wanted["membership"] = "knock"
        head = await self._heads.head(room_id)
        if head is None or not self._is_here(head):
            await self._peers.knock(user_id, room_id, via, wanted)
            return

        async def build(head: RoomHead) -> Sequence[Built]:
            if head.membership_of(user_id) == "knock":
                return []
            if not head.rules.knocking:
                raise Forbidden("This room does not support knocking")
            return [await self._build(head, user_id, user_id, wanted, requester)]

        await self._writer.write(room_id, build)

    async def leave(
        self, requester: Requester, room_id: RoomID, content: JsonObject | None = None
    ) -> None:
        """Leave a room, or reject an invite, or retract a knock; again is no error."""
        user_id = requester.user_id
        wanted = {**(content or {}), "membership": "leave"}
        head = await self._heads.head(room_id)
        if head is None or not self._is_here(head):
            await self._peers.leave(user_id, room_id, wanted)
            return

        async def build(head: RoomHead) -> Sequence[Built]:
            membership = head.membership_of(user_id)
            if membership == "leave":
                return []
            if membership not in ("join", "invite", "knock"):
                raise Forbidden("You are not in the room")
            return [await self._build(head, user_id, user_id, wanted, requester)]

        await self._writer.write(room_id, build)

    async def kick(
        self,
        requester: Requester,
        room_id: RoomID,
        target: UserID,
        content: JsonObject | None = None,
    ) -> None:
        """Make a user leave. Raises Forbidden: the user is not there, or not yours to kick."""
        await self._remove(
            requester,
            room_id,
            target,
            {**(content or {}), "membership": "leave"},
            applies=lambda before: before in ("join", "invite", "knock"),
            otherwise="The user is not in the room",
        )

    async def unban(
        self,
        requester: Requester,
        room_id: RoomID,
        target: UserID,
        content: JsonObject | None = None,
    ) -> None:
        """Lift a ban. Raises Forbidden: the user is not banned, or you may not."""
        await self._remove(
            requester,
            room_id,
            target,
            {**(content or {}), "membership": "leave"},
            applies=lambda before: before == "ban",
            otherwise="The user is not banned",
        )

    async def ban(
        self,
        requester: Requester,
        room_id: RoomID,
        target: UserID,
        content: JsonObject | None = None,
    ) -> None:
        """Ban a user, who need not be in the room."""
        wanted = {**(content or {}), "membership": "ban"}

        async def build(head: RoomHead) -> Sequence[Built]:
            return [await self._build(head, requester.user_id, target, wanted, requester)]

        await self._writer.write(room_id, build)

    async def set_member_event(
        self, requester: Requester, room_id: RoomID, target: UserID, content: JsonObject
    ) -> EventID:
        """Set a membership event with just this content: `PUT …/state/m.room.member/{userId}`.

        The same content again changes nothing. Raises as the others do.
        """
        if content.get("membership") == "join" and requester.is_guest:
            head = await self._heads.head(room_id)
            if head is not None:
                await self._check_guest_access(head)
        is_remote = server_name_of(target) != self._server_name
        if content.get("membership") == "invite" and is_remote:
            return await self._peers.invite(requester.user_id, target, room_id, content)
        if content.get("membership") == "invite":
            await self._permissions.check(requester.user_id, target)
        unchanged: list[EventID] = []

        async def build(head: RoomHead) -> Sequence[Built]:
            unchanged[:] = await self._unchanged(head, requester.user_id, target, content)
            if unchanged:
                return []
            full = content
            if content.get("membership") == "join" and head.membership_of(target) != "join":
                full = await self._restricted.authorised(head, target, content)
            return [await self._build(head, requester.user_id, target, full, requester)]

        built = await self._writer.write(room_id, build)
        return built[0].event.event_id if built else unchanged[0]

    async def _remove(
        self,
        requester: Requester,
        room_id: RoomID,
        target: UserID,
        content: JsonObject,
        *,
        applies: Callable[[str | None], bool],
        otherwise: str,
    ) -> None:
        async def build(head: RoomHead) -> Sequence[Built]:
            if head.membership_of(requester.user_id) != "join":
                raise Forbidden("You are not in the room")
            if not applies(head.membership_of(target)):
                raise Forbidden(otherwise)
            return [await self._build(head, requester.user_id, target, content, requester)]

        await self._writer.write(room_id, build)

    async def _build(
        self,
        head: RoomHead,
        sender: UserID,
        target: UserID,
        content: JsonObject,
        requester: Requester,
    ) -> Built:
        draft = EventDraft(
            type="m.room.member",
            sender=sender,
            content=content,
            room_id=head.room_id,
            state_key=target,
        )
        return await self._writer.builder.build(head, draft, Sent(requester.device_id or ""))

    def _is_here(self, head: RoomHead) -> bool:
        """Whether this server takes part in the room, or everybody has left it.

        Of a room that others are still in, what is known here grows old. So are they in one whose
        members have never become known.
        """
        return bool(head.local_joined) or (head.joined == 0 and not head.is_partial_state)

    async def _check_guest_access(self, head: RoomHead) -> None:
        entry = head.state.get(GUEST_ACCESS)
        events = await self._cache.get([entry.event_nid]) if entry else {}
        event = events.get(entry.event_nid) if entry else None
        if event is None or event.content.get("guest_access") != "can_join":
            raise GuestAccessForbidden

    async def _unchanged(
        self, head: RoomHead, sender: UserID, target: UserID, content: JsonObject
    ) -> list[EventID]:
        entry = head.state.get(("m.room.member", target))
        if entry is None:
            return []
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        is_same = event is not None and (event.sender, event.content) == (sender, content)
        return [entry.event_id] if is_same else []


def must_have_left(membership: str | None, room_id: RoomID, user_id: UserID) -> None:
    """Refuse to forget a room that the user is in. Raises NotFound, MatrixError."""
    if membership is None:
        raise NotFound("Unknown room")
    if membership not in ("leave", "ban"):
        raise MatrixError(400, "M_UNKNOWN", f"User {user_id} is in room {room_id}")
