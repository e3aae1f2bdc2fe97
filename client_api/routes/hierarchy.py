"""The tree of a space. Spec: client-server-api/#discovering-rooms-within-spaces"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.joining import RoomPath
from homeserver.protocol.json_types import JsonObject
from homeserver.services.hierarchy import Hierarchy, HierarchyQuery, TreeRoom
from homeserver.services.room_summary import SummarizedRoom, summarized
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1
from homeserver.web.requester import Requester


class TreeQuery(Query, frozen=True, kw_only=True):
    """What part of the tree."""

    suggested_only: bool | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    max_depth: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    start: str | UnsetType = msgspec.field(default=UNSET, name="from")


class HierarchyRoom(SummarizedRoom, frozen=True, kw_only=True):
    """A room of the tree, and the stripped events by which it lists its own children."""

    children_state: list[JsonObject]


class HierarchyAnswer(msgspec.Struct, frozen=True):
    """A portion of the tree."""

    rooms: list[HierarchyRoom]
    next_batch: str | UnsetType = UNSET


class HierarchyRoutes:
    """Discovering rooms within spaces."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/hierarchy",
        also=(CLIENT_UNSTABLE / "org.matrix.msc2946/rooms/{room_id}/hierarchy",),
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv1roomsroomidhierarchy",
    )
    async def get_hierarchy(
        self, requester: Requester, path: RoomPath, query: TreeQuery
    ) -> HierarchyAnswer:
        """Retrieve a portion of a space tree."""
        wanted = HierarchyQuery(
            suggested_only=None if query.suggested_only is UNSET else query.suggested_only,
            max_depth=None if query.max_depth is UNSET else query.max_depth,
            limit=None if query.limit is UNSET else query.limit,
            start=None if query.start is UNSET else query.start,
        )
        page = await self._hierarchy.page(requester, path.room_id, wanted)
        return HierarchyAnswer(
            [_room(room) for room in page.rooms],
            UNSET if page.next_batch is None else page.next_batch,
        )


def _room(room: TreeRoom) -> HierarchyRoom:
    return HierarchyRoom(
        **msgspec.structs.asdict(summarized(room.facts)),
        children_state=[child.stripped for child in room.children],
    )
