"""Whole rooms at once: for peeking, and as clients synced before /sync.

Spec: client-server-api/#get_matrixclientv3roomsroomidinitialsync,
client-server-api/#get_matrixclientv3initialsync
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.joining import RoomPath
from client_api.routes.room_answers import raw_events
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.sync_token import SyncToken
from homeserver.services.initial_sync import InitialSync, UnreadableRoom
from homeserver.services.room_snapshots import RoomSnapshot, RoomSnapshots
from homeserver.services.room_tokens import token_of_place
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100


class SnapshotQuery(Query, frozen=True, kw_only=True):
    """How many events of each room."""

    limit: Annotated[int, Meta(ge=0)] = DEFAULT_LIMIT

    @property
    def bounded_limit(self) -> int:
        """How many events to return at most."""
        return min(self.limit, MAX_LIMIT)


class InitialSyncQuery(SnapshotQuery, frozen=True, kw_only=True):
    """Whether to include rooms that the user has left, too."""

    archived: bool = False


class MessagesChunk(msgspec.Struct, frozen=True, kw_only=True):
    """The newest events, oldest first, and the tokens of both ends."""

    start: str | UnsetType = UNSET
    end: str
    chunk: list[msgspec.Raw]


class RoomInitialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A room, as far as the user may see it."""

    room_id: RoomID
    membership: str | UnsetType = UNSET
    invite: msgspec.Raw | UnsetType = UNSET
    messages: MessagesChunk | UnsetType = UNSET
    state: list[msgspec.Raw] | UnsetType = UNSET
    visibility: str | UnsetType = UNSET
    account_data: list[msgspec.Raw] | UnsetType = UNSET


class InitialSyncAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a user."""

    end: str
    rooms: list[RoomInitialAnswer]
    account_data: list[msgspec.Raw]
    presence: list[msgspec.Raw]


class InitialSyncRoutes:
    """Whole rooms."""

    def __init__(self, initial_sync: InitialSync, snapshots: RoomSnapshots) -> None:
        self._initial_sync = initial_sync
        self._snapshots = snapshots

    @endpoint(
        "GET",
        CLIENT_V3 / "initialSync",
        auth=Auth.ACCESS_TOKEN,
        # It reads every room of the user.
        rate_limit=RateLimit.DEFAULT,
        deprecated=True,
        spec="client-server-api/#get_matrixclientv3initialsync",
    )
    async def get_initial_sync(
        self, requester: Requester, query: InitialSyncQuery
    ) -> InitialSyncAnswer:
        """Return the user's rooms and account data."""
        found = await self._initial_sync.of_user(
            requester, limit=query.bounded_limit, with_left_rooms=query.archived
        )
        return InitialSyncAnswer(
            end=str(SyncToken(found.position)),
            rooms=[_room_answer(room) for room in found.rooms],
            account_data=raw_events(found.account_data),
            presence=raw_events(found.presence),
        )

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/initialSync",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3roomsroomidinitialsync",
    )
    async def get_room_initial_sync(
        self, requester: Requester, path: RoomPath, query: SnapshotQuery
    ) -> RoomInitialAnswer:
        """Return a room's state and newest events."""
        found = await self._snapshots.of_room(requester, path.room_id, limit=query.bounded_limit)
        return _snapshot_answer(found)


def _room_answer(room: RoomSnapshot | UnreadableRoom) -> RoomInitialAnswer:
    if isinstance(room, RoomSnapshot):
        return _snapshot_answer(room)
    event = UNSET if room.event is None else msgspec.Raw(room.event)
    return RoomInitialAnswer(
        room_id=room.room_id,
        membership=room.membership,
        invite=event if room.membership == "invite" else UNSET,
    )


def _snapshot_answer(room: RoomSnapshot) -> RoomInitialAnswer:
    return RoomInitialAnswer(
        room_id=room.room_id,
        membership=room.membership or UNSET,
        messages=MessagesChunk(
            start=UNSET if room.start is None else token_of_place(room.start),
            end=token_of_place(room.end),
            chunk=raw_events(room.messages),
        ),
        state=raw_events(room.state),
        visibility="public" if room.is_published else "private",
        account_data=raw_events(room.account_data),
    )
