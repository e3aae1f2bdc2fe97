"""Reporting events, rooms and users. Spec: client-server-api/#reporting-content"""

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.services.reports import Reports
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class ReportedEventPath(Params, frozen=True):
    """Which event."""

    room_id: RoomID
    event_id: EventID


class ReportedRoomPath(Params, frozen=True):
    """Which room."""

    room_id: RoomID


class ReportedUserPath(Params, frozen=True):
    """Which user."""

    user_id: UserID


class EventReportBody(Body, frozen=True):
    """Why; null counts as absent. `score` was removed in v1.18."""

    reason: str | None = None


class ReportBody(Body, frozen=True):
    """Why; may be blank."""

    reason: str


class ReportRoutes:
    """`/rooms/{roomId}/report` and `/users/{userId}/report`."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/report/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidreporteventid",
    )
    async def report_event(
        self, requester: Requester, path: ReportedEventPath, body: EventReportBody
    ) -> Empty:
        """Report an event in a joined room as inappropriate."""
        await self._reports.report_event(
            requester.user_id, path.room_id, path.event_id, body.reason
        )
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/report",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidreport",
    )
    async def report_room(
        self, requester: Requester, path: ReportedRoomPath, body: ReportBody
    ) -> Empty:
        """Report a room as inappropriate."""
        await self._reports.report_room(requester.user_id, path.room_id, body.reason)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "users/{user_id}/report",
        also=["/_matrix/client/unstable/org.matrix.msc4260/users/{user_id}/report"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3usersuseridreport",
    )
    async def report_user(
        self, requester: Requester, path: ReportedUserPath, body: ReportBody
    ) -> Empty:
        """Report a user as inappropriate."""
        await self._reports.report_user(requester.user_id, path.user_id, body.reason)
        return Empty()
