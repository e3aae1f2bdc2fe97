"""Invites by the addresses of people. Spec: server-server-api/#third-party-invites"""

from typing import Annotated

from msgspec import Meta, Struct

from federation.membership.residence import RoomsHere
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.third_party_invites import BoundInvite, ThirdPartyInvites
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, RawBody
from homeserver.web.paths import FEDERATION_V1

# So often nobody is invited by one address.
_MAX_INVITES = 100


class RoomPath(Params, frozen=True):
    """A room."""

    room_id: RoomID


class PendingInvite(Struct, frozen=True):
    """An invite that an identity server has kept."""

    mxid: UserID
    room_id: RoomID
    sender: UserID
    signed: JsonObject


class BoundAddress(Body, frozen=True):
    """An address that now belongs to a user, who was invited by it."""

    medium: str
    address: str
    mxid: UserID
    invites: Annotated[tuple[PendingInvite, ...], Meta(max_length=_MAX_INVITES)]


class ThirdPartyInviteRoutes:
    """The endpoints `exchange_third_party_invite` and `3pid/onbind`."""

    def __init__(self, invites: ThirdPartyInvites, rooms: RoomsHere) -> None:
        self._invites = invites
        self._rooms = rooms

    @endpoint(
        "PUT",
        FEDERATION_V1 / "exchange_third_party_invite/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid",
    )
    async def put_exchange(self, origin: ServerName, path: RoomPath, body: RawBody) -> Empty:
        """Request a server to auth a third-party invite event."""
        await self._rooms.room(origin, path.room_id)
        await self._invites.exchange(path.room_id, body.content)
        return Empty()

    # Identity servers have no keys by which they could sign requests.
    @endpoint(
        "PUT",
        FEDERATION_V1 / "3pid/onbind",
        auth=Auth.NONE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv13pidonbind",
    )
    async def put_onbind(self, body: BoundAddress) -> Empty:
        """Notify the server that a third-party identifier has been bound to one of its users."""
        found = [
            BoundInvite(
                mxid=each.mxid, room_id=each.room_id, sender=each.sender, signed=each.signed
            )
            for each in body.invites
        ]
        await self._invites.bound(body.mxid, found)
        return Empty()
