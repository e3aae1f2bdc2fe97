"""The presence of one user. Spec: client-server-api/#presence"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserID
from homeserver.services.presence import Presence
from homeserver.services.presence_rules import MAX_STATUS_LENGTH, PresenceName
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class PresencePath(Params, frozen=True):
    """Whose presence."""

    user_id: UserID


class PresenceBody(Body, frozen=True, kw_only=True):
    """What the user is from now on; without a status message the present one stays."""

    presence: PresenceName
    status_msg: Annotated[str, Meta(max_length=MAX_STATUS_LENGTH)] | UnsetType = UNSET


class PresenceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The presence of a user; `last_active_ago` is in ms."""

    presence: str
    last_active_ago: int | UnsetType = UNSET
    status_msg: str | UnsetType = UNSET
    currently_active: bool


class PresenceRoutes:
    """`/presence/{userId}/status`."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    @endpoint(
        "PUT",
        CLIENT_V3 / "presence/{user_id}/status",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#put_matrixclientv3presenceuseridstatus",
    )
    async def put_presence(
        self, requester: Requester, path: PresencePath, body: PresenceBody
    ) -> Empty:
        """Update this user's presence state."""
        if requester.user_id != path.user_id:
            raise Forbidden("You cannot set the presence of another user")
        status_msg = None if body.status_msg is UNSET else body.status_msg
        await self._presence.set(requester, body.presence, status_msg)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "presence/{user_id}/status",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3presenceuseridstatus",
    )
    async def get_presence(self, requester: Requester, path: PresencePath) -> PresenceAnswer:
        """Get the given user's presence state."""
        told = await self._presence.status_of(requester.user_id, path.user_id)
        return PresenceAnswer(
            presence=told.presence,
            last_active_ago=UNSET if told.last_active_ago is None else told.last_active_ago,
            status_msg=UNSET if told.status_msg is None else told.status_msg,
            currently_active=told.currently_active,
        )
