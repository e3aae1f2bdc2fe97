"""The rooms that two users share. Spec: client-server-api/#mutual-rooms"""

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.protocol.identifiers import RoomID
from homeserver.services.mutual_rooms import MutualRooms, MutualRoomsPage
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1
from homeserver.web.requester import Requester


class MutualRoomsQuery(Query, frozen=True, kw_only=True):
    """With whom, and from where on."""

    # A plain string: what is no user ID is refused with a code of its own.
    user_id: str
    start: str | UnsetType = msgspec.field(default=UNSET, name="from")


class FirstPageQuery(Query, frozen=True):
    """From where on."""

    start: str | UnsetType = msgspec.field(default=UNSET, name="from")


class OtherUserPath(Params, frozen=True):
    """With whom."""

    user_id: str


class MutualRoomsAnswer(msgspec.Struct, frozen=True):
    """Rooms in which both are joined, and how many there are in all."""

    joined: list[RoomID]
    count: int
    next_batch: str | UnsetType = UNSET


class MutualRoomsRoutes:
    """What users have in common."""

    def __init__(self, mutual_rooms: MutualRooms) -> None:
        self._mutual_rooms = mutual_rooms

    @endpoint(
        "GET",
        CLIENT_V1 / "mutual_rooms",
        also=(CLIENT_UNSTABLE / "uk.half-shot.msc2666/user/mutual_rooms",),
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv1mutual_rooms",
    )
    async def get_mutual_rooms(
        self, requester: Requester, query: MutualRoomsQuery
    ) -> MutualRoomsAnswer:
        """Get the list of rooms that the user shares with another user."""
        start = None if query.start is UNSET else query.start
        return _answer(await self._mutual_rooms.page(requester, query.user_id, start))

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / "uk.half-shot.msc2666/user/mutual_rooms/{user_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="MSC2666",
    )
    async def get_mutual_rooms_of_path(
        self, requester: Requester, path: OtherUserPath, query: FirstPageQuery
    ) -> MutualRoomsAnswer:
        """Get the list of rooms shared with another user, as the proposal once had it."""
        start = None if query.start is UNSET else query.start
        return _answer(await self._mutual_rooms.page(requester, path.user_id, start))


def _answer(page: MutualRoomsPage) -> MutualRoomsAnswer:
    return MutualRoomsAnswer(
        page.joined, page.total, UNSET if page.next_batch is None else page.next_batch
    )
