"""Changing memberships, one's own to leave and those of others.

Spec: client-server-api/#room-membership
"""

from msgspec import UNSET, UnsetType

from client_api.routes.joining import ReasonBody, RoomPath
from homeserver.errors import MissingParam
from homeserver.protocol.identifiers import UserID
from homeserver.rooms.membership import Memberships
from homeserver.services.leave_room import LeaveRoom
from homeserver.services.third_party_invites import Invitee, ThirdPartyInvites
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class TargetBody(ReasonBody, frozen=True, kw_only=True):
    """Whom, and why."""

    user_id: UserID


class InviteBody(ReasonBody, frozen=True, kw_only=True):
    """Whom to invite: a user, or whoever has an address."""

    user_id: UserID | UnsetType = UNSET
    id_server: str | UnsetType = UNSET
    id_access_token: str | UnsetType = UNSET
    medium: str | UnsetType = UNSET
    address: str | UnsetType = UNSET

    def invitee(self) -> UserID | Invitee:
        """Return the user, or who has the address. Raises MissingParam."""
        if self.user_id is not UNSET:
            return self.user_id
        by_address = (self.id_server, self.id_access_token, self.medium, self.address)
        if all(part is UNSET for part in by_address):
            raise MissingParam("user_id: whom to invite")
        id_server, id_access_token, medium, address = by_address
        if id_server is UNSET or id_access_token is UNSET or medium is UNSET or address is UNSET:
            raise MissingParam("An address needs id_server, id_access_token, medium and address")
        return Invitee(
            id_server=id_server, id_access_token=id_access_token, medium=medium, address=address
        )


class RoomMembershipRoutes:
    """Inviting, leaving, kicking, banning."""

    def __init__(
        self, memberships: Memberships, leave_room: LeaveRoom, invites: ThirdPartyInvites
    ) -> None:
        self._memberships = memberships
        self._leave_room = leave_room
        self._invites = invites

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/invite",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.INVITE,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidinvite",
    )
    async def post_invite(self, requester: Requester, path: RoomPath, body: InviteBody) -> Empty:
        """Invite a user to a room."""
        target = body.invitee()
        if isinstance(target, Invitee):
            await self._invites.invite(requester, path.room_id, target, body.content())
        else:
            await self._memberships.invite(requester, path.room_id, target, body.content())
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/leave",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidleave",
    )
    async def post_leave(self, requester: Requester, path: RoomPath, body: ReasonBody) -> Empty:
        """Leave a room, reject an invite, or retract a knock."""
        await self._leave_room.leave(requester, path.room_id, body.content())
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/kick",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidkick",
    )
    async def post_kick(self, requester: Requester, path: RoomPath, body: TargetBody) -> Empty:
        """Make a user leave a room."""
        await self._memberships.kick(requester, path.room_id, body.user_id, body.content())
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/ban",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidban",
    )
    async def post_ban(self, requester: Requester, path: RoomPath, body: TargetBody) -> Empty:
        """Ban a user from a room."""
        await self._memberships.ban(requester, path.room_id, body.user_id, body.content())
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/unban",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidunban",
    )
    async def post_unban(self, requester: Requester, path: RoomPath, body: TargetBody) -> Empty:
        """Lift the ban of a user."""
        await self._memberships.unban(requester, path.room_id, body.user_id, body.content())
        return Empty()
