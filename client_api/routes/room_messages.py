"""Pagination. Spec: client-server-api/#get_matrixclientv3roomsroomidmessages"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from client_api.routes.filter_query import FilterQuery
from client_api.routes.joining import RoomPath
from client_api.routes.room_answers import raw_events
from homeserver.services.messages import Messages, MessagesRequest
from homeserver.services.room_tokens import place_of_token, token_of_place
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class MessagesQuery(FilterQuery, frozen=True, kw_only=True):
    """Which stretch of the timeline."""

    dir: Literal["b", "f"]
    # Some clients send these empty for "from the end".
    start: str = msgspec.field(default="", name="from")
    stop: str = msgspec.field(default="", name="to")


class MessagesAnswer(msgspec.Struct, frozen=True):
    """Events, and the tokens of both ends."""

    start: str
    chunk: list[msgspec.Raw]
    end: str | UnsetType = UNSET
    state: list[msgspec.Raw] | UnsetType = UNSET


class RoomMessagesRoutes:
    """The history of rooms."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/messages",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3roomsroomidmessages",
    )
    async def get_messages(
        self, requester: Requester, path: RoomPath, query: MessagesQuery
    ) -> MessagesAnswer:
        """Return a page of a room's events."""
        chosen = query.chosen()
        wanted = MessagesRequest(
            backwards=query.dir == "b",
            start=place_of_token(query.start) if query.start else None,
            stop=place_of_token(query.stop) if query.stop else None,
            limit=query.bounded_limit(chosen),
            filter=chosen,
        )
        page = await self._messages.read(requester, path.room_id, wanted)
        return MessagesAnswer(
            query.start or token_of_place(page.start),
            raw_events(page.chunk),
            UNSET if page.end is None else token_of_place(page.end),
            UNSET if page.state is None else raw_events(page.state),
        )
