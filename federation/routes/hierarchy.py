"""Space trees for other servers. Spec: server-server-api/#spaces"""

import msgspec
from msgspec import UNSET, UnsetType

from federation.routes.room_states import RoomPath
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.services.room_summary import SummarizedRoom, summarized
from homeserver.services.spaces_for_servers import SpacesForServers
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import FEDERATION_V1


class SuggestedQuery(Query, frozen=True):
    """Whether only suggested rooms are wanted."""

    suggested_only: bool | UnsetType = UNSET


class SpaceRoom(SummarizedRoom, frozen=True, kw_only=True):
    """A space with the stripped events by which it lists its rooms."""

    children_state: list[JsonObject]


class SpaceAnswer(msgspec.Struct, frozen=True):
    """A space, its rooms, and those of them that the asking server cannot see."""

    room: SpaceRoom
    children: list[SummarizedRoom]
    inaccessible_children: list[RoomID]


class HierarchyRoutes:
    """The endpoint `hierarchy`."""

    def __init__(self, spaces: SpacesForServers) -> None:
        self._spaces = spaces

    @endpoint(
        "GET",
        FEDERATION_V1 / "hierarchy/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1hierarchyroomid",
    )
    async def get_hierarchy(
        self, origin: ServerName, path: RoomPath, query: SuggestedQuery
    ) -> SpaceAnswer:
        """Retrieve a portion of a space tree."""
        found = await self._spaces.of(
            origin, path.room_id, suggested_only=query.suggested_only is True
        )
        return SpaceAnswer(
            SpaceRoom(
                **msgspec.structs.asdict(summarized(found.facts)),
                children_state=[child.stripped for child in found.children_state],
            ),
            [summarized(child) for child in found.children],
            list(found.inaccessible_children),
        )
