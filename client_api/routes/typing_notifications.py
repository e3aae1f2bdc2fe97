"""Typing notifications. Spec: client-server-api/#typing-notifications"""

from typing import Annotated

from msgspec import Meta

from client_api.routes.account_data import check_is_own
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.services.typing_notifications import DEFAULT_TIMEOUT_MS, TypingNotifications
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class TypingPath(Params, frozen=True):
    """Who types where."""

    room_id: RoomID
    user_id: UserID


class TypingBody(Body, frozen=True, kw_only=True):
    """Whether, and for how many ms from now on."""

    typing: bool
    timeout: Annotated[int, Meta(ge=0)] = DEFAULT_TIMEOUT_MS


class TypingRoutes:
    """`PUT /rooms/{roomId}/typing/{userId}`."""

    def __init__(self, typing: TypingNotifications) -> None:
        self._typing = typing

    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/typing/{user_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#put_matrixclientv3roomsroomidtypinguserid",
    )
    async def put_typing(self, requester: Requester, path: TypingPath, body: TypingBody) -> Empty:
        """Inform the server that the user has started or stopped typing."""
        check_is_own(requester, path.user_id)
        timeout_ms = body.timeout if body.typing else 0
        await self._typing.set(requester.user_id, path.room_id, timeout_ms)
        return Empty()
