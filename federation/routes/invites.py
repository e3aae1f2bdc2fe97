"""Invites of users of this server. Spec: server-server-api/#inviting-to-a-room"""

from msgspec import UNSET, Struct, UnsetType

from federation.membership.incoming_invites import IncomingInvites
from federation.routes.send_membership import EventPath
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, RawBody
from homeserver.web.paths import FEDERATION_V1, FEDERATION_V2

# "Servers which receive a v1 invite request must assume that the room version is either 1 or 2";
# their events look alike.
_V1_ROOM_VERSION = "1"
# The invite and some state events of at most 64 KiB each.
_MAX_BODY_BYTES = 2 * 1024 * 1024


class InviteBody(Body, frozen=True):
    """An invite, and what describes the room."""

    room_version: str
    event: JsonObject
    invite_room_state: JsonValue | UnsetType = UNSET


class SignedInvite(Struct, frozen=True):
    """The invite with one more signature."""

    event: JsonObject


class InviteRoutes:
    """The endpoint `invite` in both versions."""

    def __init__(self, invites: IncomingInvites) -> None:
        self._invites = invites

    @endpoint(
        "PUT",
        FEDERATION_V2 / "invite/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv2inviteroomideventid",
        max_body_bytes=_MAX_BODY_BYTES,
    )
    async def put_invite(
        self, origin: ServerName, path: EventPath, body: InviteBody
    ) -> SignedInvite:
        """Invite a remote user to a room."""
        state = None if body.invite_room_state is UNSET else body.invite_room_state
        signed = await self._invites.take(
            origin,
            path.room_id,
            path.event_id,
            room_version=body.room_version,
            pdu=body.event,
            state=state,
        )
        return SignedInvite(signed)

    @endpoint(
        "PUT",
        FEDERATION_V1 / "invite/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv1inviteroomideventid",
        max_body_bytes=_MAX_BODY_BYTES,
    )
    async def put_invite_v1(
        self, origin: ServerName, path: EventPath, body: RawBody
    ) -> list[int | SignedInvite]:
        """Invite a remote user to a room of version 1 or 2."""
        unsigned = body.content.get("unsigned")
        state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
        # The description may be larger than an event may be.
        pdu = {key: value for key, value in body.content.items() if key != "unsigned"}
        signed = await self._invites.take(
            origin,
            path.room_id,
            path.event_id,
            room_version=_V1_ROOM_VERSION,
            pdu=pdu,
            state=state,
        )
        return [200, SignedInvite({**signed, **_kept(unsigned)})]


def _kept(unsigned: JsonValue) -> JsonObject:
    """Return what stays untouched, though nothing of it is signed."""
    return {"unsigned": unsigned} if isinstance(unsigned, dict) else {}
