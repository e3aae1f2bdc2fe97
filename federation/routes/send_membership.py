"""Membership events that other servers have made of templates of this one.

Spec: server-server-api/#joining-rooms, #knocking-rooms, #leaving-rooms-rejecting-invites
"""

from msgspec import UNSET, Raw, Struct, UnsetType

from federation.membership.submissions import Submissions
from federation.routes.pdu_answers import raw_pdus
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query, RawBody
from homeserver.web.paths import FEDERATION_V1, FEDERATION_V2


class EventPath(Params, frozen=True):
    """A room and the event that is sent."""

    room_id: RoomID
    event_id: EventID


class JoinQuery(Query, frozen=True):
    """Whether most members may be left out of the answer."""

    omit_members: bool = False


class JoinAnswer(Struct, frozen=True, kw_only=True):
    """The event as it is in the room, and the room before it."""

    origin: ServerName
    state: list[Raw]
    auth_chain: list[Raw]
    event: JsonObject
    members_omitted: bool | UnsetType = UNSET
    servers_in_room: list[ServerName] | UnsetType = UNSET


class KnockAnswer(Struct, frozen=True):
    """What describes the room to those who knock."""

    knock_room_state: list[JsonObject]


class SendMembershipRoutes:
    """The endpoints `send_join`, `send_knock` and `send_leave`."""

    def __init__(self, submissions: Submissions, server_name: ServerName) -> None:
        self._submissions = submissions
        self._server_name = server_name

    @endpoint(
        "PUT",
        FEDERATION_V2 / "send_join/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv2send_joinroomideventid",
    )
    async def put_send_join(
        self, origin: ServerName, path: EventPath, query: JoinQuery, body: RawBody
    ) -> JoinAnswer:
        """Submit a signed join event to a resident server."""
        return await self._join(origin, path, body, omit_members=query.omit_members)

    @endpoint(
        "PUT",
        FEDERATION_V1 / "send_join/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv2send_joinroomideventid",
        deprecated=True,
    )
    async def put_send_join_v1(
        self, origin: ServerName, path: EventPath, body: RawBody
    ) -> list[int | JoinAnswer]:
        """Submit a signed join event to a resident server."""
        return [200, await self._join(origin, path, body, omit_members=False)]

    @endpoint(
        "PUT",
        FEDERATION_V1 / "send_knock/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv1send_knockroomideventid",
    )
    async def put_send_knock(
        self, origin: ServerName, path: EventPath, body: RawBody
    ) -> KnockAnswer:
        """Submit a signed knock event to a resident server."""
        found = await self._submissions.knock(origin, path.room_id, path.event_id, body.content)
        return KnockAnswer(found)

    @endpoint(
        "PUT",
        FEDERATION_V2 / "send_leave/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv2send_leaveroomideventid",
    )
    async def put_send_leave(self, origin: ServerName, path: EventPath, body: RawBody) -> Empty:
        """Submit a signed leave event to a resident server."""
        await self._submissions.leave(origin, path.room_id, path.event_id, body.content)
        return Empty()

    @endpoint(
        "PUT",
        FEDERATION_V1 / "send_leave/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv2send_leaveroomideventid",
        deprecated=True,
    )
    async def put_send_leave_v1(
        self, origin: ServerName, path: EventPath, body: RawBody
    ) -> list[int | Empty]:
        """Submit a signed leave event to a resident server."""
        await self._submissions.leave(origin, path.room_id, path.event_id, body.content)
        return [200, Empty()]

    async def _join(
        self, origin: ServerName, path: EventPath, body: RawBody, *, omit_members: bool
    ) -> JoinAnswer:
        event, told = await self._submissions.join(
            origin, path.room_id, path.event_id, body.content, omit_members=omit_members
        )
        return JoinAnswer(
            origin=self._server_name,
            state=raw_pdus(told.state),
            auth_chain=raw_pdus(told.auth_chain),
            event=event.pdu,
            members_omitted=told.members_omitted if omit_members else UNSET,
            servers_in_room=told.servers_in_room if omit_members else UNSET,
        )
