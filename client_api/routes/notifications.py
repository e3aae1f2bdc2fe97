"""Listing notifications. Spec: client-server-api/#listing-notifications"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from homeserver.services.notifications import (
    Notification,
    Notifications,
    notification_token,
    parse_notification_token,
)
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100


class NotificationsQuery(Query, frozen=True, kw_only=True):
    """Which notifications."""

    start: str = msgspec.field(default="", name="from")
    limit: Annotated[int, Meta(gt=0)] = DEFAULT_LIMIT
    only: str = ""


class NotificationAnswer(msgspec.Struct, frozen=True):
    """An event that has notified the user."""

    actions: list[Any]
    event: msgspec.Raw
    read: bool
    room_id: str
    ts: int


class NotificationsAnswer(msgspec.Struct, frozen=True):
    """Notifications, newest first, and where to go on."""

    notifications: list[NotificationAnswer]
    next_token: str | UnsetType = UNSET


class NotificationRoutes:
    """`GET /notifications`."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    @endpoint(
        "GET",
        CLIENT_V3 / "notifications",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3notifications",
    )
    async def get_notifications(
        self, requester: Requester, query: NotificationsQuery
    ) -> NotificationsAnswer:
        """Get a list of events that the user has been notified about."""
        page = await self._notifications.page(
            requester,
            before=parse_notification_token(query.start) if query.start else None,
            limit=min(query.limit, MAX_LIMIT),
            highlights_only=query.only == "highlight",
        )
        return NotificationsAnswer(
            [_answer(each) for each in page.chunk],
            UNSET if page.end is None else notification_token(page.end),
        )


def _answer(notification: Notification) -> NotificationAnswer:
    return NotificationAnswer(
        list(notification.actions),
        msgspec.Raw(notification.event),
        notification.is_read,
        notification.room_id,
        notification.ts,
    )
