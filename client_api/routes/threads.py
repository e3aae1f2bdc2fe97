"""Listing threads. Spec: client-server-api/#querying-threads-in-a-room"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from client_api.routes.joining import RoomPath
from client_api.routes.room_answers import raw_events
from homeserver.services.threads import Threads, parse_thread_token, thread_token
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V1
from homeserver.web.requester import Requester

DEFAULT_LIMIT: Final = 20
# Every root comes with its newest message and what belongs to that.
MAX_LIMIT: Final = 100


class ThreadsQuery(Query, frozen=True, kw_only=True):
    """Which threads."""

    include: Literal["all", "participated"] = "all"
    start: str = msgspec.field(default="", name="from")
    limit: Annotated[int, Meta(gt=0)] = DEFAULT_LIMIT


class ThreadsAnswer(msgspec.Struct, frozen=True):
    """Thread roots, and where to go on."""

    chunk: list[msgspec.Raw]
    next_batch: str | UnsetType = UNSET


class ThreadRoutes:
    """The threads of rooms."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    @endpoint(
        "GET",
        CLIENT_V1 / "rooms/{room_id}/threads",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv1roomsroomidthreads",
    )
    async def get_threads(
        self, requester: Requester, path: RoomPath, query: ThreadsQuery
    ) -> ThreadsAnswer:
        """Return the roots of a room's threads."""
        page = await self._threads.of_room(
            requester,
            path.room_id,
            participated=query.include == "participated",
            start=parse_thread_token(query.start) if query.start else None,
            limit=min(query.limit, MAX_LIMIT),
        )
        return ThreadsAnswer(
            raw_events(page.chunk), UNSET if page.end is None else thread_token(page.end)
        )
