"""Room summaries. Spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias"""

import msgspec
from msgspec import UNSET, UnsetType

from client_api.routes.joining import MAX_VIA, RoomOrAliasPath, ViaQuery
from homeserver.services.room_summary import RoomSummary, SummarizedRoom
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1
from homeserver.web.requester import Requester


class SummaryAnswer(SummarizedRoom, frozen=True, kw_only=True):
    """A room; `membership` is absent where nobody in particular asks."""

    membership: str | UnsetType = UNSET


class UnstableSummaryAnswer(SummaryAnswer, frozen=True, kw_only=True):
    """The same with the names that the proposal gave to what was new."""

    unstable_encryption: str | UnsetType = msgspec.field(
        default=UNSET, name="im.nheko.summary.encryption"
    )
    unstable_room_version: str | UnsetType = msgspec.field(
        default=UNSET, name="im.nheko.summary.room_version"
    )
    # "The latter might still be called im.nheko.summary.version".
    unstable_version: str | UnsetType = msgspec.field(
        default=UNSET, name="im.nheko.summary.version"
    )


class RoomSummaryRoutes:
    """What a room is, for those who are not in it."""

    def __init__(self, summary: RoomSummary) -> None:
        self._summary = summary

    @endpoint(
        "GET",
        CLIENT_V1 / "room_summary/{room_id_or_alias}",
        auth=Auth.OPTIONAL,
        guests=True,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv1room_summaryroomidoralias",
    )
    async def get_summary(
        self, requester: Requester | None, path: RoomOrAliasPath, query: ViaQuery
    ) -> SummaryAnswer:
        """Retrieve a summary for a room."""
        return await self._find(requester, path, query)

    # COMPAT(matrix-js-sdk, Nheko): both paths of the proposal.
    @endpoint(
        "GET",
        CLIENT_UNSTABLE / "im.nheko.summary/summary/{room_id_or_alias}",
        also=(CLIENT_UNSTABLE / "im.nheko.summary/rooms/{room_id_or_alias}/summary",),
        auth=Auth.OPTIONAL,
        guests=True,
        rate_limit=RateLimit.DEFAULT,
        spec="MSC3266",
    )
    async def get_unstable_summary(
        self, requester: Requester | None, path: RoomOrAliasPath, query: ViaQuery
    ) -> UnstableSummaryAnswer:
        """Retrieve a summary for a room, with the names of the proposal too."""
        found = await self._find(requester, path, query)
        return UnstableSummaryAnswer(
            **msgspec.structs.asdict(found),
            unstable_encryption=found.encryption,
            unstable_room_version=found.room_version,
            unstable_version=found.room_version,
        )

    async def _find(
        self, requester: Requester | None, path: RoomOrAliasPath, query: ViaQuery
    ) -> SummaryAnswer:
        via = (*query.via, *query.server_name)[:MAX_VIA]
        room, membership = await self._summary.of(requester, path.room_id_or_alias, via)
        return SummaryAnswer(
            **msgspec.structs.asdict(room),
            membership=UNSET if membership is None else membership,
        )
