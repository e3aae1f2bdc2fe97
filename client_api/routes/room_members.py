"""The members of rooms. Spec: client-server-api/#getting-events-for-a-room"""

from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from client_api.routes.joining import RoomPath
from client_api.routes.room_answers import raw_events
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.access import Access
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.read_state import ReadState
from homeserver.services.room_tokens import place_of_token, state_position
from homeserver.telemetry.clock import Clock
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

Membership: TypeAlias = Literal["join", "invite", "knock", "leave", "ban"]


class MembersQuery(Query, frozen=True):
    """Which members, and when."""

    at: str | UnsetType = UNSET
    membership: Membership | UnsetType = UNSET
    not_membership: Membership | UnsetType = UNSET


class Members(msgspec.Struct, frozen=True):
    """Member events."""

    chunk: list[msgspec.Raw]


class JoinedMembers(msgspec.Struct, frozen=True):
    """The joined members' display names and avatars, by user ID."""

    joined: dict[str, JsonObject]


class RoomMembersRoutes:
    """Who is in a room."""

    def __init__(self, access: Access, read_state: ReadState, clock: Clock) -> None:
        self._access = access
        self._read_state = read_state
        self._clock = clock

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/members",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidmembers",
    )
    async def get_members(
        self, requester: Requester, path: RoomPath, query: MembersQuery
    ) -> Members:
        """Return the member events of a room."""
        at = None if query.at is UNSET else state_position(place_of_token(query.at))
        access = await self._access.to_read(requester.user_id, path.room_id)
        events = await self._read_state.members(
            access,
            Viewer(requester.user_id, requester.device_id, self._clock.now_ms()),
            at=at,
            membership=None if query.membership is UNSET else query.membership,
            not_membership=None if query.not_membership is UNSET else query.not_membership,
        )
        return Members(raw_events(events))

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/joined_members",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidjoined_members",
    )
    async def get_joined_members(self, requester: Requester, path: RoomPath) -> JoinedMembers:
        """Return the profiles of the joined members of a room."""
        access = await self._access.to_members_only(requester.user_id, path.room_id)
        return JoinedMembers(await self._read_state.joined_members(access))
